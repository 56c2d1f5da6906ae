//! `nearkin completions`.

use clap::CommandFactory as _;

use crate::exit::Exit;
use crate::{Ended, Program, output};

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin completions bash > ~/.local/share/bash-completion/completions/nearkin\n  \
    nearkin completions zsh  > ~/.zfunc/_nearkin\n  \
    nearkin completions fish > ~/.config/fish/completions/nearkin.fish")]
pub(crate) struct Arguments {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Arguments {
    pub(crate) fn run(&self) -> Ended {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Program::command(), "nearkin", &mut text);
        output::print(&String::from_utf8_lossy(&text))?;
        Ok(Exit::Done)
    }
}
