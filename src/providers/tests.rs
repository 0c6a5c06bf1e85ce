//! Planning over a small configuration, with the plugins of this build.

use super::{upstream::Rest, *};
use crate::{outbound::Clients, spool::Spool};
use plugin_api::{ErrorClass, ImageRequest, ProviderError, Retry, Size};
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use uuid::Uuid;

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

#[test]
fn a_rebuilt_registry_keeps_the_instances_that_did_not_change() {
    let old = two_accounts();
    let settings = |second: &str, failures: u32| Settings {
        providers: serde_json::from_value(serde_json::json!({
            "cards": {"kind": "placeholder"},
            "first": {"kind": "openai", "api_key": "sk-1"},
            "second": {"kind": "openai", "api_key": second},
        }))
        .unwrap(),
        routing: serde_json::from_value(serde_json::json!({"breaker": {"failures": failures}})).unwrap(),
        ..Settings::default()
    };
    let new = old.rebuild(&settings("sk-3", 5), builtin::PLUGINS).unwrap();
    let same = |id: &str, new: &Registry| Arc::ptr_eq(old.instance(id).unwrap(), new.instance(id).unwrap());
    assert!(same("first", &new) && same("cards", &new), "their breakers and rates go on");
    assert!(!same("second", &new), "another key is another instance");
    assert!(new.instance("without").is_none(), "what is left out is gone");
    let ids: Vec<&str> = new.instances().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["cards", "first", "second"], "in the new order");
    let stricter = old.rebuild(&settings("sk-2", 1), builtin::PLUGINS).unwrap();
    assert!(!same("first", &stricter), "a new breaker is set up by its settings");
    let mut hasty = settings("sk-2", 5);
    hasty.routing.retries.honour_retry_after = plugin_api::value::Span::secs(1);
    let hasty = old.rebuild(&hasty, builtin::PLUGINS).unwrap();
    assert!(!same("first", &hasty), "what is granted to a vendor that asks to wait is part of it");
    let mut patient = settings("sk-2", 5);
    patient.routing.retries.attempts = 9;
    assert!(same("first", &old.rebuild(&patient, builtin::PLUGINS).unwrap()), "the tries of a job are not");
    let mut wrong = settings("sk-3", 5);
    wrong.providers[1].plugin.insert("base_url".into(), "nonsense".into());
    assert!(old.rebuild(&wrong, builtin::PLUGINS).is_err());
}

static ANYTHING: LazyLock<[String; 1]> = LazyLock::new(|| ["*".to_owned()]);
static NOTHING: (Claims, Full) = (Claims::new(), Full::new());

/// A call of a team that may use everything, and has no budget.
fn ask<'a>(model: Option<&'a str>, request: &'a ImageRequest) -> Ask<'a> {
    Ask {
        team: "t",
        key: "k",
        claims: &NOTHING.0,
        tool: "generate_image",
        model,
        provider: None,
        request,
        parameters: None,
        allowed: &*ANYTHING,
        priced: false,
        full: &NOTHING.1,
    }
}

fn plan(
    registry: &Registry,
    model: Option<&str>,
    provider: Option<&str>,
    request: &ImageRequest,
) -> Result<Planned, PlanError> {
    registry.plan(&Ask { provider, ..ask(model, request) })
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
fn a_job_of_several_images_is_priced_and_counted_as_such() {
    let registry = registry(serde_json::json!({
        "providers": {"doubao": {"kind": "doubao", "api_key": "k"}},
        "models": {
            "table": {"targets": ["doubao/doubao-seedream-4.0"]},
            "own": {"targets": ["doubao/doubao-seedream-4.0"], "price": [{"image": "0.05 USD"}]}
        },
        "routing": {"currency": "CNY", "exchange_rates": {"USD": 7.0}}
    }));
    let options = serde_json::json!({
        "sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 4}
    });
    let one = ImageRequest::new("", "a fox");
    let group = ImageRequest { vendor: options.as_object().cloned().unwrap(), ..one.clone() };
    let told = |model, request| {
        let planned = plan(&registry, Some(model), None, request).unwrap();
        (planned.images, planned.expected, planned.highest.unwrap().to_string())
    };
    assert_eq!(told("table", &one), (1, Some("0.20 CNY".parse().unwrap()), "0.20 CNY".into()));
    assert_eq!(told("table", &group), (4, Some("0.80 CNY".parse().unwrap()), "0.80 CNY".into()));
    assert_eq!(told("own", &group).2, "1.40 CNY", "an own price is that of one image");
}

#[test]
fn the_built_in_photo_can_be_made_by_seedream() {
    let registry = registry(serde_json::json!({
        "providers": {"doubao": {"kind": "doubao", "api_key": "k"}},
        "models": {"photo": {
            "targets": ["openai/gpt-image-2.5-flare", "doubao/doubao-seedream-5-0-pro-260628"],
            "defaults": {"size": "1536x1024", "quality": "high"}
        }}
    }));
    let planned = plan(&registry, Some("photo"), None, &ImageRequest::new("", "a fox")).unwrap();
    assert_eq!(targets(&planned), ["doubao/doubao-seedream-5-0-pro-260628"]);
    assert_eq!(planned.expected.unwrap().amount_micros, 45_000);
}

#[test]
fn a_fallback_model_is_only_for_a_kind_that_has_one() {
    let build = |kind: &str| {
        let providers = serde_json::json!({"one": {"kind": kind, "api_key": "k", "fallback_model": "doubao-seedream-4.0"}});
        let settings =
            Settings { providers: serde_json::from_value(providers).unwrap(), ..Settings::default() };
        let spool = Spool::unopened(&crate::spool::Settings::default(), std::path::Path::new("nowhere"));
        Registry::build(&settings, builtin::PLUGINS, Clients::new().unwrap(), Arc::new(spool)).map(drop)
    };
    rustls::crypto::ring::default_provider().install_default().ok();
    assert!(build("doubao").is_ok());
    let told = build("openai").unwrap_err();
    assert!(told[0].starts_with("providers.one.fallback_model"), "{told:?}");
}

#[test]
fn a_route_goes_before_the_models_own_targets() {
    let registry = two_accounts();
    let request = ImageRequest::new("", "x");
    let ask = Ask { team: "marketing", ..ask(Some("draw"), &request) };
    assert_eq!(targets(&registry.plan(&ask).unwrap()), ["cards/card"]);
    let forbidden = Ask { allowed: &["card".to_owned()], ..ask };
    assert_eq!(registry.plan(&forbidden).unwrap_err().kind, Unplannable::Forbidden);
}

fn admit(upstream: &Upstream, now: Instant) -> Result<Arc<Key>, Duration> {
    upstream.admit(Uuid::new_v4(), "S", now)
}

#[test]
fn a_full_rate_closes_an_instance_until_it_is_over() {
    let registry = registry(serde_json::json!({
        "providers": {"cards": {"kind": "placeholder", "rate": "2/min"}}, "models": {}
    }));
    let upstream = registry.instance("cards").unwrap();
    let now = Instant::now();
    assert!(admit(upstream, now).is_ok() && admit(upstream, now).is_ok());
    let wait = admit(upstream, now).err().unwrap();
    assert!(upstream.is_closed(now) && !upstream.is_closed(now + wait));
}

#[test]
fn who_brings_an_image_and_names_no_model_gets_one_that_takes_it() {
    let registry = registry(serde_json::json!({
        "providers": {"cards": {"kind": "placeholder"}, "first": {"kind": "openai", "api_key": "sk-1"}},
        "models": {"card": {"targets": ["cards/card"]}, "draw": {"targets": ["first/gpt-image-2.5-flare"]}},
        "routing": {"default_model": ["card", "draw"]}
    }));
    let input = plugin_api::Input {
        handle: "uploads/t/1.png".into(),
        mime: "image/png".into(),
        width: 64,
        height: 64,
        bytes: bytes::Bytes::new(),
    };
    let plain = ImageRequest { prompt: "a fox".into(), ..ImageRequest::default() };
    assert_eq!(plan(&registry, None, None, &plain).unwrap().model, "card");
    let edit = ImageRequest { references: vec![input.clone(); 5], ..plain.clone() };
    assert_eq!(plan(&registry, None, None, &edit).unwrap().model, "draw", "a card takes four");
    let many = ImageRequest { references: vec![input; 30], ..plain };
    assert!(plan(&registry, None, None, &many).is_err(), "nobody takes thirty, and nothing is dropped");
}

#[test]
fn a_wait_the_vendor_asked_for_closes_the_instance_to_every_job() {
    let registry = registry(serde_json::json!({
        "providers": {"cards": {"kind": "placeholder"}, "others": {"kind": "placeholder"}}, "models": {},
        "routing": {"retries": {"honour_retry_after": "60s"}}
    }));
    let upstream = registry.instance("cards").unwrap();
    let key = admit(upstream, Instant::now()).unwrap();
    let limited = |wait: u64| {
        let error = plugin_api::ProviderError::new(plugin_api::ErrorClass::RateLimited, "slow down");
        error.with_wait(Some(std::time::Duration::from_secs(wait)))
    };
    for (asked, granted) in [(7, 7), (100, 60), (1_000_000_000, 60)] {
        upstream.observe::<()>(&key, Err(limited(asked))).unwrap_err();
        let wait = admit(upstream, Instant::now()).err().unwrap().as_secs_f64();
        assert!((f64::from(granted) - 1.0..=f64::from(granted)).contains(&wait), "{asked} s: {wait}");
    }
    let now = Instant::now();
    assert!(upstream.is_closed(now) && matches!(upstream.rest(now), Some(Rest::Asked(_))));
    assert!(admit(registry.instance("others").unwrap(), now).is_ok(), "others are not concerned");
}

/// What is told of the targets: whether each serves, and why not.
fn explained(registry: &Registry, ask: &Ask<'_>) -> Vec<(String, bool, String)> {
    let told = registry.explain(ask).targets;
    told.into_iter().map(|c| (c.to, c.serves, c.reason.unwrap_or_default())).collect()
}

/// `a` is cheap and slow, `b` dear and fast, by prices and times that are their own.
fn three(strategy: &str) -> Registry {
    registry(serde_json::json!({
        "providers": {
            "a": {"kind": "qwen", "api_key": "k"}, "b": {"kind": "openai", "api_key": "k"},
            "c": {"kind": "placeholder"}
        },
        "models": {
            "m": {"strategy": strategy, "targets": [
                {"to": "b/gpt-image-2.5-flare", "weight": 1}, {"to": "a/qwen-image-2.0", "weight": 3}, "c/card"
            ]}
        },
    }))
}

#[test]
fn every_strategy_orders_as_it_says() {
    let request = ImageRequest::new("", "a fox");
    let of = |strategy: &str| targets(&plan(&three(strategy), Some("m"), None, &request).unwrap());
    assert_eq!(of("ordered"), ["b/gpt-image-2.5-flare", "a/qwen-image-2.0", "c/card"]);
    assert_eq!(of("cheapest")[0], "c/card", "it is free");
    let usual = of("fastest");
    assert_eq!(usual[0], "c/card", "as its vendor's calls usually are: {usual:?}");
    let weighted = three("weighted");
    let first = |_| targets(&plan(&weighted, Some("m"), None, &request).unwrap()).remove(0);
    let firsts: Vec<String> = (0..2_000).map(first).collect();
    let share = |to: &str| firsts.iter().filter(|first| *first == to).count();
    assert!(
        (1_080..1_320).contains(&share("a/qwen-image-2.0")),
        "three of five: {}",
        share("a/qwen-image-2.0")
    );
    assert!((320..480).contains(&share("c/card")), "one of five");
}

#[test]
fn a_seed_keeps_to_its_target() {
    for strategy in ["weighted", "fastest"] {
        let registry = three(strategy);
        let of = |seed: u32| {
            let request = ImageRequest { seed: Some(seed), ..ImageRequest::new("", "a fox") };
            targets(&plan(&registry, Some("m"), None, &request).unwrap()).remove(0)
        };
        let first: Vec<String> = (0..300).map(of).collect();
        assert_eq!(first, (0..300).map(of).collect::<Vec<_>>(), "{strategy}");
        let to_a = first.iter().filter(|to| to.starts_with("a/")).count();
        assert!((190..260).contains(&to_a), "three of the four that take a seed: {to_a} of 300");
    }
}

#[test]
fn the_cheapest_is_by_the_price_of_this_very_request() {
    let registry = registry(serde_json::json!({
        "providers": {"one": {"kind": "placeholder"}, "two": {"kind": "placeholder"}},
        "models": {
            "flat": {"targets": ["one/card"], "price": [{"image": "0.05 USD"}]},
            "by-size": {"targets": ["two/card"], "price": [
                {"when": {"size": "512x512"}, "image": "0.01 USD"}, {"image": "0.09 USD"}
            ]},
        },
        "routes": [{"name": "both", "when": {"model": "both"}, "to": ["one/card", "two/card"]}]
    }));
    let priced = |size: Size| {
        let request = ImageRequest { size, ..ImageRequest::new("", "x") };
        explained_prices(&registry, &ask(Some("both"), &request))
    };
    assert_eq!(priced(Size::exact(512, 512)), ["0.05 USD", "0.01 USD"], "each target by its own entry");
    assert_eq!(priced(Size::exact(1024, 1024)), ["0.05 USD", "0.09 USD"]);
}

fn explained_prices(registry: &Registry, ask: &Ask<'_>) -> Vec<String> {
    registry.explain(ask).targets.iter().map(|c| c.price.unwrap().to_string()).collect()
}

#[test]
fn the_fastest_is_by_measured_times_where_there_are_some() {
    let registry = three("fastest");
    let request = ImageRequest::new("", "a fox");
    let now = Instant::now();
    let card = registry.instance("c").unwrap();
    card.took("card", Duration::from_secs(100), now);
    registry.instance("a").unwrap().took("qwen-image-2.0", Duration::from_millis(300), now);
    let told = explained(&registry, &ask(Some("m"), &request));
    assert_eq!(told[0].0, "a/qwen-image-2.0", "{told:?}");
    assert_eq!(told[2].0, "c/card", "{told:?}");
    assert!(told[2].2.contains("100.0 s (measured), and a/qwen-image-2.0 0.3 s (measured)"), "{told:?}");
    for _ in 0..20 {
        card.took("card", Duration::from_millis(1), now);
    }
    assert!(card.latency("card", now).unwrap() < Duration::from_millis(200), "it learns that it was mended");
    assert_eq!(card.latency("card", now + Duration::from_secs(601)), None, "and forgets");
}

#[test]
fn an_explanation_is_the_plan_with_its_reasons() {
    let registry = two_accounts();
    let request = ImageRequest::new("", "a fox");
    let ask = ask(Some("draw"), &request);
    let order = |ask: &Ask<'_>| {
        let told = explained(&registry, ask);
        let planned = targets(&registry.plan(ask).unwrap());
        assert_eq!(
            told.iter().map(|t| &t.0).take(planned.len()).collect::<Vec<_>>(),
            planned.iter().collect::<Vec<_>>()
        );
        assert!(told[0].1 && told[1..].iter().all(|t| !t.1), "the first serves: {told:?}");
        told
    };
    let told = order(&ask);
    assert_eq!(told[0].2, "");
    assert_eq!(told[1].2, "stands after first/gpt-image-2.5-flare");
    assert!(told[2].2.starts_with("off: OPENAI_API_KEY is not set"), "{told:?}");

    let first = registry.instance("first").unwrap();
    let key = admit(first, Instant::now()).unwrap();
    for _ in 0..5 {
        first.observe::<()>(&key, Err(ProviderError::new(ErrorClass::Overloaded, "x"))).unwrap_err();
    }
    let told = order(&ask);
    assert_eq!(told[0].0, "second/gpt-image-2", "a target that takes no calls comes last, not never");
    assert_eq!(told[1].2, "its circuit breaker is open after too many failures");

    let full = Full::from([("second".to_owned(), "The provider `second` is full.".to_owned())]);
    let told = order(&Ask { full: &full, ..ask.clone() });
    assert!(told[0].0.starts_with("first/"), "the only one left serves: {told:?}");
    let why = &told.iter().find(|t| t.0.starts_with("second/")).unwrap().2;
    assert_eq!(why, "The provider `second` is full.");

    let told = registry.explain(&Ask { team: "marketing", ..ask });
    assert_eq!((told.route.as_deref(), told.targets[0].to.as_str()), (Some("cheap"), "cards/card"));
}

#[test]
fn what_cannot_be_served_is_told_with_what_would_be() {
    let registry = two_accounts();
    let wide = ImageRequest { size: Size::exact(7, 7), ..ImageRequest::new("", "x") };
    let told = registry.explain(&ask(Some("draw"), &wide));
    assert_eq!(told.error.as_ref().map(|e| e.kind), Some(Unplannable::Unsupported));
    assert!(told.targets[0].reason.as_ref().unwrap().contains("`size`"), "{told:?}");
    let unknown = registry.explain(&ask(Some("nobody"), &wide));
    assert!(unknown.targets.is_empty() && unknown.error.unwrap().message.contains("no model `nobody`"));
}

#[test]
fn a_budget_passes_by_what_has_no_price() {
    let registry = registry(serde_json::json!({
        "providers": {"lab": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "models": ["sd"]},
                      "cards": {"kind": "placeholder"}},
        "models": {"m": {"targets": ["lab/sd", "cards/card"]}, "only": {"targets": ["lab/sd"]}},
    }));
    let request = ImageRequest::new("", "x");
    let free = ask(Some("m"), &request);
    assert_eq!(targets(&registry.plan(&free).unwrap()).len(), 2);
    let tight = Ask { priced: true, ..free };
    assert_eq!(targets(&registry.plan(&tight).unwrap()), ["cards/card"]);
    let error = registry.plan(&Ask { model: Some("only"), ..tight }).unwrap_err();
    assert_eq!(error.kind, Unplannable::Unpriced);
}

#[test]
fn a_route_matches_by_each_of_its_conditions() {
    let conditions = [
        (serde_json::json!({"team": ["design", "mark*"]}), "team"),
        (serde_json::json!({"key": "ci"}), "key"),
        (serde_json::json!({"tool": "edit_image"}), "tool"),
        (serde_json::json!({"model": "other"}), "model"),
        (serde_json::json!({"provider": "cards"}), "provider"),
        (serde_json::json!({"claims": {"dept": ["design", "art*"]}}), "claims"),
        (serde_json::json!({"style": "anime"}), "request"),
        (serde_json::json!({"size": "512x512"}), "request"),
        (serde_json::json!({"quality": "high"}), "request"),
        (serde_json::json!({"background": "transparent"}), "request"),
        (serde_json::json!({"references": true}), "request"),
    ];
    let claims = Claims::from([("dept".to_owned(), vec!["sales".to_owned(), "Art direction".to_owned()])]);
    let matching = ImageRequest {
        style: Some("anime".into()),
        size: Size::exact(512, 512),
        quality: Some(plugin_api::Quality::High),
        background: Some(plugin_api::Background::Transparent),
        references: vec![plugin_api::Input::default()],
        ..ImageRequest::new("", "x")
    };
    let plain = ImageRequest::new("", "x");
    for (when, condition) in conditions {
        let registry = registry(serde_json::json!({
            "providers": {"cards": {"kind": "placeholder"}, "others": {"kind": "placeholder"}},
            "models": {"card": {"targets": ["others/card"]}, "other": {"targets": ["others/card"]}},
            "routes": [{"name": "special", "when": when, "to": ["cards/card"]}],
            "routing": {"default_model": ["card"]}
        }));
        let other = registry.explain(&ask(None, &plain));
        assert_eq!(other.passed, [("special".to_owned(), condition)], "{when}");
        assert_eq!(other.targets[0].to, "others/card");
        let special = Ask {
            team: "marketing",
            key: "ci",
            tool: "edit_image",
            provider: Some("cards"),
            claims: &claims,
            ..ask(Some("other"), &matching)
        };
        assert_eq!(registry.explain(&special).route.as_deref(), Some("special"), "{when}");
    }
}

#[test]
fn a_models_own_capabilities_count_for_its_targets_and_nowhere_else() {
    let registry = registry(serde_json::json!({
        "providers": {"cards": {"kind": "placeholder"}},
        "models": {"plain": {"targets": ["cards/card"]},
                   "small": {"targets": ["cards/card"], "capabilities": {"sizes": ["64x64"], "references": 1}}},
    }));
    let request = ImageRequest { size: Size::exact(512, 512), ..ImageRequest::new("", "x") };
    assert!(plan(&registry, Some("plain"), None, &request).is_ok());
    let error = plan(&registry, Some("small"), None, &request).unwrap_err();
    assert!(error.message.contains("64x64"), "{error:?}");
    let small = registry.model("small").unwrap().capabilities.unwrap();
    assert_eq!((*small.references.end(), small.sizes.default_size()), (1, (64, 64)));
    let fits = registry.capabilities("small", "cards/card").unwrap();
    assert_eq!(*fits.references.end(), 1, "an attempt goes by the same");
}

fn account(keys: serde_json::Value, more: serde_json::Value) -> Result<Registry, Vec<String>> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut entry = serde_json::json!({"kind": "openai", "api_keys": keys});
    entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let providers = serde_json::from_value(serde_json::json!({"a": entry})).unwrap();
    let settings = Settings { providers, ..Settings::default() };
    let spool = Spool::unopened(&crate::spool::Settings::default(), std::path::Path::new("nowhere"));
    Registry::build(&settings, builtin::PLUGINS, Clients::new().unwrap(), Arc::new(spool))
}

#[test]
fn several_keys_are_one_instance_and_what_a_key_does_is_its_own() {
    let two = serde_json::json!([{"id": "a", "value": "sk-a"}, {"id": "b", "value": "sk-b"}, {"id": "idle"}]);
    let registry = account(two, serde_json::json!({})).unwrap();
    let upstream = registry.instance("a").unwrap();
    let key = admit(upstream, Instant::now()).unwrap();
    let refused = ProviderError::new(ErrorClass::Authentication, "no");
    let error = upstream.observe::<()>(&key, Err(refused)).unwrap_err();
    assert_eq!(
        (error.retry, error.retry_after),
        (Retry::Later, Some(Duration::ZERO)),
        "the other key may do it"
    );
    assert!(upstream.rest(Instant::now()).is_none());
    let other = admit(upstream, Instant::now()).unwrap();
    assert_ne!(other.id, key.id);
    let limited =
        ProviderError::new(ErrorClass::RateLimited, "slow").with_wait(Some(Duration::from_secs(60)));
    let error = upstream.observe::<()>(&other, Err(limited)).unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(60)), "now nobody can");
    assert!(matches!(upstream.rest(Instant::now()), Some(Rest::Keys(_))));
    assert!(admit(upstream, Instant::now()).is_err());
    let key_of = |id: &str| upstream.key_of_ticket(Some(id), Uuid::nil()).unwrap().id.clone();
    assert_eq!(
        (key_of("a"), key_of("b")),
        ("a".into(), "b".into()),
        "a poll goes by its own key all the same"
    );
    assert!(["a", "b"].contains(&key_of("gone").as_str()));
}

#[test]
fn keys_that_cannot_be_spread_are_named() {
    let one = serde_json::json!([{"id": "a", "value": "sk-a"}]);
    let told = account(one.clone(), serde_json::json!({"api_key": "sk-0"})).err().unwrap();
    assert!(told[0].starts_with("providers.a.api_keys: `api_key` is set too"), "{told:?}");
    let told = account(one, serde_json::json!({"kind": "placeholder"})).err().unwrap();
    assert!(told[0].contains("the kind `placeholder` has no key"), "{told:?}");
    let off = account(serde_json::json!([{"id": "a"}]), serde_json::json!({})).unwrap();
    let why = off.instance("a").unwrap().provider.as_ref().err().unwrap();
    assert_eq!(why, "no entry of api_keys has a value");
}

#[test]
fn defaults_of_a_model_are_mapped_where_a_target_cannot_take_them_and_arguments_are_not() {
    let registry = registry(serde_json::json!({
        "providers": {"flux": {"kind": "workers-ai", "account_id": "a", "api_token": "t"}},
        "models": {"photo": {"targets": ["flux/@cf/black-forest-labs/flux-1-schnell"],
                             "defaults": {"size": "1536x1024", "quality": "high"}}},
    }));
    let planned = plan(&registry, Some("photo"), None, &ImageRequest::new("", "x")).unwrap();
    let fields: Vec<&str> = planned.adjustments.iter().map(|a| a.field.as_str()).collect();
    assert_eq!(fields, ["size", "quality"], "and that is told");
    let asked = ImageRequest { size: Size::exact(1536, 1024), ..ImageRequest::new("", "x") };
    let error = plan(&registry, Some("photo"), None, &asked).unwrap_err();
    assert_eq!((error.kind, error.field.as_deref()), (Unplannable::Unsupported, Some("size")));
}
