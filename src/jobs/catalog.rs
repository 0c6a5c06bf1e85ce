//! The models an owner may use, as `list_models` and the tools' schemas show them.

use super::{Inner, ModelView, Owner, ProviderView, TargetView};
use crate::providers::{ModelInfo, Upstream, glob};
use plugin_api::{Capabilities, RATIOS};
use std::{any::Any, cmp::Ordering, sync::Arc};

/// What the models of an owner are taken from.
#[derive(Clone)]
pub struct Offered {
    /// Held, so that its place in memory stays its own.
    registry: Arc<dyn Any + Send + Sync>,
    /// Globs.
    allowed: Vec<String>,
}

impl Offered {
    pub fn new(registry: Arc<dyn Any + Send + Sync>, allowed: Vec<String>) -> Offered {
        Offered { registry, allowed }
    }

    /// Nothing was reloaded between the two, whoever's they are.
    pub fn is_of_one_registry(&self, other: &Offered) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.registry), Arc::as_ptr(&other.registry))
    }

    /// Both give the same models.
    pub fn is(&self, other: &Offered) -> bool {
        self.is_of_one_registry(other) && self.allowed == other.allowed
    }
}

impl Inner {
    pub(super) fn offered(&self, owner: &Owner) -> Offered {
        {
            let live = self.live.load();
            Offered::new(live.registry.clone(), live.rules.models(&owner.team, &owner.key))
        }
    }

    pub(super) fn models(&self, owner: &Owner) -> Vec<ModelView> {
        let live = self.live.load();
        let allowed = live.rules.models(&owner.team, &owner.key);
        let may = |info: &ModelInfo| allowed.iter().any(|pattern| glob::fits(pattern, &info.name));
        live.registry.models().into_iter().filter(may).map(view).collect()
    }

    /// The providers behind those models: first the default one, then the default model's.
    pub(super) fn providers(&self, owner: &Owner) -> Vec<ProviderView> {
        let mut models = self.models(owner);
        models.sort_by_key(|model| !model.default);
        let mut ids: Vec<String> = Vec::new();
        for id in models.into_iter().flat_map(|model| model.providers) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let registry = &self.live.load().registry;
        if let Some(default) = &registry.routing.default_provider
            && let Some(at) = ids.iter().position(|id| id == default)
        {
            ids[..=at].rotate_right(1);
        }
        ids.iter().filter_map(|id| registry.instance(id)).map(|upstream| provider(upstream)).collect()
    }
}

fn provider(upstream: &Upstream) -> ProviderView {
    let caps =
        upstream.default_model().and_then(|model| upstream.capabilities(&model).cloned()).unwrap_or_default();
    let owned = |(id, meaning): &(&'static str, &'static str)| ((*id).to_owned(), (*meaning).to_owned());
    ProviderView {
        id: upstream.id.clone(),
        kind: upstream.kind.clone(),
        styles: caps.styles.iter().map(owned).collect(),
        resolutions: caps
            .sizes
            .examples()
            .into_iter()
            .map(|(w, h)| (format!("{w}x{h}"), shape(w, h)))
            .collect(),
    }
}

/// `16:9`, and in which direction.
fn shape(width: u32, height: u32) -> String {
    let ratio = f64::from(width) / f64::from(height);
    let named = RATIOS.iter().find(|(w, h)| (f64::from(*w) / f64::from(*h) / ratio - 1.0).abs() < 0.03);
    let direction = match width.cmp(&height) {
        Ordering::Less => "portrait",
        Ordering::Equal => "square",
        Ordering::Greater => "landscape",
    };
    match named {
        Some((w, h)) => format!("{w}:{h} {direction}"),
        None => direction.to_owned(),
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
    let fixed = matches!(caps.sizes, plugin_api::SizeRule::Fixed(..)) || caps.sizes.is_auto_only();
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
