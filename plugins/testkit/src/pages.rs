//! Examples of the documentation, to be run as they stand there.

/// The block of a page that carries a name: what stands below "```yaml NAME".
///
/// # Panics
/// The page has none.
pub fn block<'a>(page: &'a str, name: &str) -> &'a str {
    let fence = format!("```yaml {name}\n");
    let begin = page.find(&fence).unwrap_or_else(|| panic!("the page has no example {name}")) + fence.len();
    let end = page[begin..].find("\n```").expect("the block has an end") + begin + 1;
    &page[begin..end]
}

/// The block for another vendor: `key` in place of every variable, `url` in place of scheme and host of every address.
///
/// # Panics
/// As [`block`].
pub fn example(page: &str, name: &str, url: &str, key: &str) -> String {
    let (mut text, mut rest) = (String::new(), block(page, name));
    while let Some((at, mark)) =
        ["${", "https://", "http://"].into_iter().filter_map(|mark| Some((rest.find(mark)?, mark))).min()
    {
        text += &rest[..at];
        let after = &rest[at + mark.len()..];
        let (with, length) = match mark {
            "${" => (key, after.find('}').expect("a variable has an end") + 1),
            _ => {
                (url, after.find(|c: char| !c.is_alphanumeric() && !".:-".contains(c)).unwrap_or(after.len()))
            }
        };
        text += with;
        rest = &after[length..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_pointed_at_another_vendor() {
        let page = "text\n```yaml a\nbase_url: http://127.0.0.1:1/v1 # x\napi_key: \"${KEY:-}\"\ncheck: https://h.example/c?d\n```\n";
        let wanted = "base_url: http://fake:9/v1 # x\napi_key: \"sk\"\ncheck: http://fake:9/c?d\n";
        assert_eq!(example(page, "a", "http://fake:9", "sk"), wanted);
    }
}
