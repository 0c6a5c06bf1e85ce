//! Where a finished answer holds its images.

use crate::{
    address::{parse, percent},
    pointer,
    template::{Piece, Template, plain},
};
use plugin_api::{Answer, Artifact, ErrorClass, Picture, ProviderError, Source, Spend, join_url};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// Where the images are.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeclaredImages")]
pub struct Images {
    /// JSON pointer to base64 (also a `data:` URL), to a URL, or to a list of them. `*` is every item or member.
    pub at: String,
    /// For items that are maps: the URL made from their members, `/view?name={filename}`.
    pub url: Option<String>,
    /// For items that are maps: only those whose members have these values.
    #[serde(default)]
    pub only: BTreeMap<String, Value>,
    /// JSON pointer to the seeds that were used, in the order of the images.
    pub seed: Option<String>,
    /// JSON pointer to the prompts as the vendor rewrote them, in the order of the images.
    pub revised_prompt: Option<String>,
    /// JSON pointer to what a filter said of each image: where it is true, that image is no result.
    pub blocked: Option<String>,
    /// Which ones, when there are more than asked for.
    #[serde(default)]
    pub keep: Keep,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DeclaredKeep")]
pub enum Keep {
    #[default]
    All,
    First,
    Last,
}

impl Images {
    /// Every pointer, with its field.
    pub fn pointers(&self) -> [(&'static str, Option<&String>); 4] {
        [
            ("images.at", Some(&self.at)),
            ("images.seed", self.seed.as_ref()),
            ("images.revised_prompt", self.revised_prompt.as_ref()),
            ("images.blocked", self.blocked.as_ref()),
        ]
    }

    /// The texts where images should be.
    pub fn texts(&self, body: &Value, n: u32) -> Vec<String> {
        self.items(body, n).iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// The images in `body`, which is what is parsed of `answer`; `None`: nothing stands there. `base`: what a
    /// [`url`](Self::url) that begins with `/` is added to.
    ///
    /// # Errors
    /// What cost most, where none of them is a result.
    pub fn read(
        &self,
        body: &Value,
        answer: &Answer,
        n: u32,
        base: &str,
    ) -> Result<Option<Artifact>, ProviderError> {
        let items = self.items(body, n);
        if items.is_empty() {
            return Ok(None);
        }
        let mut artifact = Artifact::default();
        let several = |pointer: &Option<String>| -> Vec<Value> {
            let found = pointer.as_deref().map(|pointer| pointer::all(body, pointer)).unwrap_or_default();
            flat(found).into_iter().map(Cow::into_owned).collect()
        };
        let (seeds, prompts, blocked) =
            (several(&self.seed), several(&self.revised_prompt), several(&self.blocked));
        for (at, item) in items.iter().enumerate() {
            let taken = match blocked.get(at).and_then(Value::as_bool) {
                Some(true) => Err(ProviderError::new(
                    ErrorClass::ContentBlocked,
                    "the vendor's filter held the image back",
                )
                .with_stage("output")
                .with_spend(Spend::Certain)),
                _ => self.source(base, answer, item),
            };
            let picture = taken.map(|source| Picture {
                source,
                seed: seeds.get(at).and_then(Value::as_u64).and_then(|seed| seed.try_into().ok()),
                revised_prompt: prompts.get(at).and_then(Value::as_str).map(str::to_owned),
            });
            artifact.take(at as u32, picture);
        }
        let none = || ProviderError::new(ErrorClass::BadResponse, "the vendor's answer has no images");
        let mut artifact = artifact.with_pictures(none)?;
        artifact.miss(items.len(), n);
        Ok(Some(artifact))
    }
}

/// A list that a pointer leads to stands for its items.
fn flat(found: Vec<Cow<'_, Value>>) -> Vec<Cow<'_, Value>> {
    let items = |value| match value {
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
        other => vec![other],
    };
    found.into_iter().flat_map(items).collect()
}

impl Images {
    fn items<'a>(&self, body: &'a Value, n: u32) -> Vec<Cow<'a, Value>> {
        let fits = |item: &Cow<'_, Value>| self.only.iter().all(|(key, want)| item.get(key) == Some(want));
        let mut items: Vec<_> = flat(pointer::all(body, &self.at)).into_iter().filter(fits).collect();
        if items.iter().all(|item| item.is_null()) {
            items.clear();
        }
        let over = items.len().saturating_sub(n.max(1) as usize);
        match self.keep {
            Keep::All => {}
            Keep::First => items.truncate(n.max(1) as usize),
            Keep::Last => drop(items.drain(..over)),
        }
        items
    }

    fn source(&self, base: &str, answer: &Answer, item: &Value) -> Result<Source, ProviderError> {
        let bad = |what: &str| {
            ProviderError::new(ErrorClass::BadResponse, what).with_status(answer.status.as_u16())
        };
        if let Some(template) = &self.url {
            let address = address(base, template, item)
                .ok_or_else(|| bad("an item of the vendor's answer lacks a member of images.url"))?;
            return Ok(Source::Url(address));
        }
        let text = item.as_str().ok_or_else(|| bad("what stands where an image should be is no text"))?;
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Source::Url(text.to_owned()));
        }
        let blob = answer.blob(text)?;
        match blob.sniff() {
            Some(_) => Ok(Source::Blob(blob)),
            None => Err(bad("what the vendor sent is no image")),
        }
    }
}

/// The URL of an item, its members as parts of the query or the path.
fn address(base: &str, template: &str, item: &Value) -> Option<String> {
    let whole = if template.starts_with('/') { join_url(base, template) } else { template.to_owned() };
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        member => {
            let value = member.value(&|name| item.get(name).filter(|value| !value.is_null()).cloned())?;
            Some(percent(&plain(&value), false))
        }
    };
    let address: String = Template::parse(&whole).0.iter().map(piece).collect::<Option<_>>()?;
    parse(&address).ok().map(String::from)
}
