//! Names with wildcards, in the one form that every setting uses.

/// Whether `text` fits a pattern of `*` (any run) and `?` (one character), in any letter case.
pub fn fits(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if !pattern.contains(['*', '?']) && pattern.is_ascii() && text.is_ascii() {
        return pattern.eq_ignore_ascii_case(text);
    }
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_stand_for_anything_and_letter_case_does_not_count() {
        for (pattern, name) in [
            ("*", ""),
            ("gpt-*", "gpt-image"),
            ("*flux*", "a-flux-b"),
            ("a*b*c", "axxbyyc"),
            ("*a*b", "xaxbxb"),
            ("claude-code*", "Claude-Code/2.1"),
            ("list_?obs", "list_jobs"),
            ("x", "x"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("gpt-*", "flux"),
            ("x", "xy"),
            ("a*a", "a"),
            ("*b", "abc"),
            ("", "x"),
            ("list_?obs", "list_obs"),
            ("cursor*", "my cursor"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
