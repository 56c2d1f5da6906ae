//! Names written with braces: `shard-{000000..000003}.tar` and `{train,val}.tar`.

use thiserror::Error;

/// Names that a pattern may stand for.
const MAX_NAMES: usize = 1 << 20;

/// Why a pattern stands for no names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BraceError {
    /// A brace without its partner, or nothing that is known between two.
    #[error("{pattern}: expected braces such as {{000..003}} or {{a,b}}, found {found:?}")]
    Braces {
        /// The pattern.
        pattern: String,
        /// The part that is wrong.
        found: String,
    },
    /// More names than are of use.
    #[error("{pattern}: expected at most {limit} names, found more")]
    TooMany {
        /// The pattern.
        pattern: String,
        /// The limit.
        limit: usize,
    },
}

/// The names that a pattern stands for, the last braces running fastest.
///
/// # Errors
/// [`BraceError`].
///
/// # Examples
/// ```
/// let names = nearkin_data::expand_braces("s-{08..10}.tar")?;
/// assert_eq!(names, ["s-08.tar", "s-09.tar", "s-10.tar"]);
/// # Ok::<(), nearkin_data::BraceError>(())
/// ```
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, BraceError> {
    let wrong = |found: &str| {
        Err(BraceError::Braces { pattern: pattern.to_owned(), found: found.to_owned() })
    };
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find(['{', '}']) {
        let after = &rest[open + 1..];
        let Some(close) = after.find('}').filter(|_| rest.as_bytes()[open] == b'{') else {
            return wrong(&rest[open..]);
        };
        let too_many = || BraceError::TooMany { pattern: pattern.to_owned(), limit: MAX_NAMES };
        let Some(choices) = choices(&after[..close], MAX_NAMES / names.len().max(1)) else {
            return wrong(&rest[open..open + close + 2]);
        };
        let choices = choices.ok_or_else(too_many)?;
        let before = &rest[..open];
        let joined = names
            .iter()
            .flat_map(|name| choices.iter().map(move |choice| format!("{name}{before}{choice}")));
        names = joined.collect();
        rest = &after[close + 1..];
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

/// What stands between two braces; `None` if it is nothing known, `Some(None)` over the limit.
fn choices(inside: &str, limit: usize) -> Option<Option<Vec<String>>> {
    if inside.contains('{') {
        return None;
    }
    let Some((first, last)) = inside.split_once("..") else {
        let listed: Vec<String> = inside.split(',').map(str::to_owned).collect();
        return (listed.len() > 1).then(|| (listed.len() <= limit).then_some(listed));
    };
    let number = |text: &str| {
        text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (from, to) = (number(first)?, number(last)?);
    if to < from {
        return None;
    }
    if to - from >= limit as u64 {
        return Some(None);
    }
    // As in a shell, a leading zero makes all numbers as wide.
    let width = if first.starts_with('0') || last.starts_with('0') {
        first.len().max(last.len())
    } else {
        0
    };
    Some(Some((from..=to).map(|number| format!("{number:0width$}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_run_as_in_a_shell() {
        let names = |pattern| expand_braces(pattern).unwrap().join(" ");
        assert_eq!(names("{a,b}-{1..2}.tar"), "a-1.tar a-2.tar b-1.tar b-2.tar");
        assert_eq!(names("{9..10}"), "9 10");
        assert_eq!(names("plain.tar"), "plain.tar");
    }

    #[test]
    fn broken_braces_and_endless_ranges_are_refused() {
        let error = |pattern| expand_braces(pattern).unwrap_err().to_string();
        let expected = "expected braces such as {000..003} or {a,b}, found";
        assert_eq!(error("a{3..1}"), format!("a{{3..1}}: {expected} \"{{3..1}}\""));
        for pattern in ["a{", "a}b", "{x}", "{1..x}", "{a{1..2}}", "{-1..2}", "{..}"] {
            assert!(error(pattern).contains(expected), "{pattern}");
        }
        let limit = "expected at most 1048576 names, found more";
        assert!(error("{0..18446744073709551615}").ends_with(limit));
        assert!(error("{0..9999}{0..9999}").ends_with(limit));
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_is_expanded_or_refused(pattern in "[{},.0-9a]{0,20}") {
            drop(expand_braces(&pattern));
        }
    }
}
