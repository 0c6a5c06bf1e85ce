use std::fmt;

/// A credential: it can be used, and never be shown. `Debug` and serialisation print `***`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }
    /// The value itself: for the header or the signature that needs it, never for a message or a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// `text` with the credential replaced wherever it stands, also where the text was cut in its middle.
    pub fn redact(&self, text: &str) -> String {
        const TELLING: usize = 6;
        if self.0.is_empty() {
            return text.to_owned();
        }
        let clean = text.replace(&self.0, "***");
        let heads = (TELLING..self.0.len()).rev().filter_map(|len| self.0.get(..len));
        match heads.into_iter().find_map(|head| clean.strip_suffix(head)) {
            Some(rest) => format!("{rest}***"),
            None => clean,
        }
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<empty>" } else { "***" })
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
        String::deserialize(d).map(|text| Secret(text.trim().to_owned()))
    }
}

impl schemars::JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "writeOnly": true,
            "description": "a secret: ${NAME} from the environment, or the same field with _file for a file's content"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("sk-canary");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "sk-canary");
    }

    #[test]
    fn a_secret_is_taken_out_of_a_text_even_where_the_text_was_cut() {
        let secret = Secret::new("sk-canary");
        assert_eq!(secret.redact("a sk-canary, sk-canary"), "a ***, ***");
        assert_eq!(secret.redact("wrong key: sk-cana"), "wrong key: ***");
        assert_eq!(secret.redact("a word that ends in s"), "a word that ends in s");
        assert_eq!(Secret::default().redact("as it was"), "as it was");
    }
}
