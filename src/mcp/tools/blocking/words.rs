//! The style ids that the second predecessor had for OpenAI's models, which have no styles of their own, and the English
//! words each stands for. Those of Hunyuan and Doubao are in their plugins.

use crate::jobs::ProviderView;

/// Nothing is added for the first.
const OPENAI: [(&str, &str); 12] = [
    ("natural", ""),
    ("vivid", "vivid style"),
    ("realistic", "realistic style"),
    ("artistic", "artistic style"),
    ("cartoon", "cartoon style"),
    ("anime", "anime style"),
    ("oil_painting", "oil painting style"),
    ("watercolor", "watercolor style"),
    ("sketch", "sketch style"),
    ("digital_art", "digital art"),
    ("photographic", "photographic style"),
    ("minimalist", "minimalist style"),
];

fn has_none_of_its_own(provider: &ProviderView) -> bool {
    provider.kind == "openai" && provider.styles.is_empty()
}

/// The providers with these styles listed where they have none of their own.
pub fn known(mut providers: Vec<ProviderView>) -> Vec<ProviderView> {
    for provider in providers.iter_mut().filter(|provider| has_none_of_its_own(provider)) {
        let owned = |(id, words): &(&str, &str)| ((*id).to_owned(), (*words).to_owned());
        provider.styles = OPENAI.iter().map(owned).collect();
    }
    providers
}

/// What is asked of a provider for one of its styles: its id, or the words where the provider does not know ids.
/// `None`: nothing.
pub fn in_words(provider: &ProviderView, style: &str) -> Option<String> {
    let words = OPENAI.iter().find(|(id, _)| *id == style).map(|(_, words)| *words);
    let of_ours = provider.kind == "openai" && provider.styles.iter().any(|(id, _)| id == OPENAI[0].0);
    match words.filter(|_| of_ours) {
        Some("") => None,
        Some(words) => Some(words.to_owned()),
        None => Some(style.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(kind: &str, styles: &[&str]) -> ProviderView {
        let styles = styles.iter().map(|id| ((*id).to_owned(), String::new())).collect();
        ProviderView { id: "p".into(), kind: kind.into(), styles, resolutions: Vec::new() }
    }

    #[test]
    fn openais_ids_mean_english_words_and_natural_means_none() {
        let openai = known(vec![provider("openai", &[])]).remove(0);
        assert_eq!(openai.styles.len(), 12);
        assert_eq!(in_words(&openai, "oil_painting").as_deref(), Some("oil painting style"));
        assert_eq!(in_words(&openai, "natural"), None);
        assert!(OPENAI.iter().all(|(_, words)| words.is_ascii()));
    }

    #[test]
    fn ids_of_others_stay_as_they_are() {
        let doubao = known(vec![provider("doubao", &["anime"])]).remove(0);
        assert_eq!(in_words(&doubao, "anime").as_deref(), Some("anime"));
        assert!(known(vec![provider("qwen", &[])])[0].styles.is_empty());
        let own = known(vec![provider("openai", &["house"])]).remove(0);
        assert_eq!(own.styles.len(), 1, "a server with styles of its own");
        assert_eq!(in_words(&own, "house").as_deref(), Some("house"));
    }
}
