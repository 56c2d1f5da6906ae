//! Compiles the few lines of C that stand between libjpeg and Rust.

fn main() {
    let shim = "src/decode/jpeg.c";
    println!("cargo:rerun-if-changed={shim}");
    let mut build = cc::Build::new();
    // Set by mozjpeg-sys: where the headers of the very libjpeg that is linked are.
    if let Some(paths) = std::env::var_os("DEP_JPEG_INCLUDE") {
        build.includes(std::env::split_paths(&paths));
    }
    build.file(shim).warnings(true).extra_warnings(true).compile("nearkin_jpeg");
}
