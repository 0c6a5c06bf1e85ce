//! Planning over a small configuration, with the plugins of this build.

use super::*;
use crate::{outbound::Clients, spool::Spool};
use plugin_api::{ImageRequest, Size};
use std::sync::Arc;

fn registry(json: serde_json::Value) -> Registry {
    rustls::crypto::ring::default_provider().install_default().ok();
    let settings = Settings {
        providers: serde_json::from_value(json["providers"].clone()).unwrap(),
        models: serde_json::from_value(json["models"].clone()).unwrap(),
        routes: serde_json::from_value(json["routes"].clone()).unwrap_or_default(),
        routing: serde_json::from_value(json["routing"].clone()).unwrap_or_default(),
    };
    let spool = Spool::unopened(&crate::spool::Settings::default(), std::path::Path::new("nowhere"));
    Registry::build(&settings, builtin::PLUGINS, Clients::new().unwrap(), Arc::new(spool)).unwrap()
}

fn two_accounts() -> Registry {
    registry(serde_json::json!({
        "providers": {
            "first": {"kind": "openai", "api_key": "sk-1"},
            "second": {"kind": "openai", "api_key": "sk-2"},
            "without": {"kind": "openai"},
            "cards": {"kind": "placeholder"}
        },
        "models": {
            "draw": {"targets": ["first/gpt-image-2.5-flare", "without/gpt-image-2", "second/gpt-image-2"],
                     "price": [{"when": {"quality": "high"}, "image": "0.17 USD"}],
                     "defaults": {"size": "1536x1024"}},
            "card": {"targets": ["cards/card"]},
            "away": {"targets": ["without/gpt-image-2"]}
        },
        "routes": [{"name": "cheap", "when": {"team": "marketing", "model": "draw"}, "to": ["cards/card"]}],
        "routing": {"default_model": ["away", "card"]}
    }))
}

fn plan(
    registry: &Registry,
    model: Option<&str>,
    provider: Option<&str>,
    request: &ImageRequest,
) -> Result<Planned, PlanError> {
    let allowed = ["*".to_owned()];
    let ask = Ask {
        team: "t",
        key: "k",
        tool: "generate_image",
        model,
        provider,
        request,
        parameters: None,
        allowed: &allowed,
    };
    registry.plan(&ask)
}

fn targets(planned: &Planned) -> Vec<String> {
    planned.plan.targets.iter().map(|t| format!("{}/{}", t.instance, t.vendor_model)).collect()
}

#[test]
fn targets_that_are_off_are_left_out_and_the_order_is_kept() {
    let registry = two_accounts();
    let planned = plan(&registry, Some("draw"), None, &ImageRequest::new("", "a fox")).unwrap();
    assert_eq!(targets(&planned), ["first/gpt-image-2.5-flare", "second/gpt-image-2"]);
    assert_eq!(planned.request.size, Size::exact(1536, 1024), "the model's default fills what was left out");
}

#[test]
fn a_provider_narrows_a_model_and_alone_means_its_own() {
    let registry = two_accounts();
    let request = ImageRequest::new("", "a fox");
    let planned = plan(&registry, Some("draw"), Some("second"), &request).unwrap();
    assert_eq!(targets(&planned), ["second/gpt-image-2"]);
    let planned = plan(&registry, None, Some("placeholder"), &request).unwrap();
    assert_eq!(
        (planned.model.as_str(), targets(&planned)),
        ("card", vec!["cards/card".to_owned()]),
        "a kind is its first instance"
    );
    let error = plan(&registry, Some("card"), Some("first"), &request).unwrap_err();
    assert_eq!((error.kind, error.field.as_deref()), (Unplannable::Unknown, Some("provider")));
}

#[test]
fn the_default_is_the_first_model_that_is_on() {
    let registry = two_accounts();
    assert_eq!(plan(&registry, None, None, &ImageRequest::new("", "x")).unwrap().model, "card");
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let registry = two_accounts();
    let request = ImageRequest::new("", "x");
    let said = |model, provider| plan(&registry, Some(model), provider, &request).unwrap_err();
    let error = said("drew", None);
    assert!(
        error.message.contains("Did you mean `draw`?") && error.message.contains("Accepted: card, draw."),
        "{error:?}"
    );
    let error = said("cards/nope", None);
    assert_eq!(error.kind, Unplannable::Unknown);
    assert!(error.message.contains("has no model `nope`. Accepted: card."), "{error:?}");
    assert_eq!(said("away", None).kind, Unplannable::Off);
    let error = said("draw", Some("nobody"));
    assert!(error.message.contains("Providers that are on: cards, first, second."), "{error:?}");
}

#[test]
fn an_own_price_counts_where_it_matches_and_the_dearest_target_is_reserved() {
    let registry = two_accounts();
    let high = ImageRequest { quality: Some(plugin_api::Quality::High), ..ImageRequest::new("", "x") };
    let planned = plan(&registry, Some("draw"), None, &high).unwrap();
    assert_eq!(planned.highest.unwrap().to_string(), "0.17 USD");
    let any = plan(&registry, Some("draw"), None, &ImageRequest::new("", "x")).unwrap();
    assert!(
        any.highest.unwrap().amount_micros > any.expected.unwrap().amount_micros,
        "the vendor may choose the dearest quality"
    );
}

#[test]
fn a_route_goes_before_the_models_own_targets() {
    let registry = two_accounts();
    let (request, allowed) = (ImageRequest::new("", "x"), ["*".to_owned()]);
    let ask = Ask {
        team: "marketing",
        key: "k",
        tool: "generate_image",
        model: Some("draw"),
        provider: None,
        request: &request,
        parameters: None,
        allowed: &allowed,
    };
    assert_eq!(targets(&registry.plan(&ask).unwrap()), ["cards/card"]);
    let forbidden = Ask { allowed: &["card".to_owned()], ..ask };
    assert_eq!(registry.plan(&forbidden).unwrap_err().kind, Unplannable::Forbidden);
}

#[test]
fn a_full_rate_closes_an_instance_until_it_is_over() {
    let registry = registry(serde_json::json!({
        "providers": {"cards": {"kind": "placeholder", "rate": "2/min"}}, "models": {}
    }));
    let upstream = registry.instance("cards").unwrap();
    let now = std::time::Instant::now();
    assert!(upstream.admit(now).is_ok() && upstream.admit(now).is_ok());
    let wait = upstream.admit(now).unwrap_err();
    assert!(upstream.is_closed(now) && !upstream.is_closed(now + wait));
}
