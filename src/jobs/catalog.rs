//! The models an owner may use, as `list_models` and the tools' schemas show them.

use super::{Inner, ModelView, Owner, TargetView};
use crate::providers::{ModelInfo, glob};
use plugin_api::Capabilities;

impl Inner {
    pub(super) fn models(&self, owner: &Owner) -> Vec<ModelView> {
        let allowed = self.rules.load().models(&owner.team, &owner.key);
        let may = |info: &ModelInfo| allowed.iter().any(|pattern| glob::fits(pattern, &info.name));
        self.registry.load().models().into_iter().filter(may).map(view).collect()
    }
}

fn view(info: ModelInfo) -> ModelView {
    let caps = info.capabilities.clone().unwrap_or_default();
    let on: Vec<_> = info.targets.iter().filter(|t| t.off.is_none()).collect();
    let mut providers: Vec<String> = Vec::new();
    for target in &on {
        if !providers.contains(&target.instance) {
            providers.push(target.instance.clone());
        }
    }
    let off = if on.is_empty() {
        let why: Vec<String> = info.targets.iter().filter_map(|t| t.off.clone()).collect();
        Some(if why.is_empty() { "it has no target".to_owned() } else { why.join("; ") })
    } else {
        None
    };
    ModelView {
        on: !on.is_empty(),
        default: info.default,
        providers,
        sizes: caps.sizes.describe(),
        max_count: 20,
        references: *caps.references.end(),
        formats: caps.formats.iter().map(|f| f.as_str()).collect(),
        transparent: caps.transparent,
        styles: caps.styles.iter().map(|(id, _)| (*id).to_owned()).collect(),
        honours: honours(&caps),
        price: on.first().and_then(|t| t.price),
        targets: info
            .targets
            .iter()
            .map(|t| TargetView {
                to: format!("{}/{}", t.instance, t.vendor_model),
                on: t.off.is_none(),
                price: t.price,
                reason: t.off.clone(),
            })
            .collect(),
        off,
        name: info.name,
        description: info.description,
    }
}

/// Optional arguments that have an effect at this model.
fn honours(caps: &Capabilities) -> Vec<&'static str> {
    let fixed = matches!(caps.sizes, plugin_api::SizeRule::Fixed(..));
    let list = [
        ("size", !fixed),
        ("quality", !caps.qualities.is_empty()),
        // Where the vendor has no field for it, it becomes part of the prompt.
        ("style", true),
        ("negative_prompt", true),
        ("seed", caps.seed),
        ("steps", caps.steps.is_some()),
        ("guidance", caps.guidance.is_some()),
        ("background", caps.transparent),
        ("output_format", caps.format_selectable),
        ("output_compression", caps.compression),
        ("references", *caps.references.end() > 0),
        ("mask", caps.mask),
        ("moderation", caps.moderation),
        ("watermark", caps.watermark),
        ("prompt_rewrite", caps.prompt_rewrite),
        ("user", caps.user),
    ];
    list.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}
