//! What descriptions mean, and what is said of those that cannot work.

#![allow(clippy::unwrap_used)]

mod support;

use plugin_api::{Built, Class, OutputFormat, SizeRule};
use serde_json::{Value, json};
use support::{build, settings};

fn base() -> Value {
    json!({
        "base_url": "https://api.example.com/v1", "api_key": "k", "headers": {"authorization": "Bearer {api_key}"},
        "submit": {"url": "/make", "body": {"prompt": "{prompt}"}, "ticket": "/id"},
        "poll": {"url": "/jobs/{ticket}", "status": "/status", "done": "ok"},
        "images": {"at": "/url"}, "models": [{"name": "m"}]
    })
}

/// The description with a value at a JSON pointer; null takes the field away.
fn with(pointer: &str, value: Value) -> Value {
    let mut settings = base();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = settings.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(name)),
        (Value::Object(map), value) => drop(map.insert(name.into(), value)),
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer}"),
    }
    settings
}

fn refused(settings: Value) -> String {
    match (plugin_http::PLUGIN.build)(settings.clone()) {
        Err(why) => why,
        Ok(_) => panic!("it must be refused: {settings}"),
    }
}

#[test]
fn mistakes_are_found_when_it_is_read_and_named_by_their_field() {
    build(base());
    for (pointer, value, told) in [
        ("/base_url", json!("api.example.com"), "base_url: "),
        ("/api_hosts", json!(["*"]), "api_hosts[0]: "),
        ("/submit/url", json!("make"), "submit.url: "),
        ("/submit/url", json!("https://{model}.example.com"), "submit.url: "),
        ("/submit/url", json!("/make/{seed}"), "submit.url: {seed} can be absent"),
        ("/submit/url", json!("/make?key={api_key}"), "submit.url: {api_key} belongs into a header"),
        ("/submit/body", json!({"a": [{"b": "{promt}"}]}), "submit.body.a[0].b: there is no {promt} here"),
        ("/submit/headers", json!({"x": "{ticket}"}), "submit.headers.x: there is no {ticket}"),
        ("/submit/headers", json!({"x y": "1"}), "submit.headers: `x y` is not the name of a header"),
        ("/submit/headers", json!({"x": "1\r\ny: 2"}), "submit.headers.x: a line break"),
        ("/submit/idempotency_header", json!(""), "submit.idempotency_header: "),
        ("/submit/form", json!({"a": "b"}), "submit.form: there is a `body` too"),
        ("/submit/ticket", json!("id"), "submit.ticket: `id` is not a JSON pointer"),
        ("/submit/ticket", Value::Null, "poll: there is no `submit.ticket`"),
        (
            "/headers",
            json!({"x-user": "{user}"}),
            "headers.x-user: there is no {user} here; there are: {api_key}",
        ),
        ("/poll", Value::Null, "submit.ticket: a ticket needs `poll`"),
        ("/poll/url", json!("/jobs"), "poll.url: it has no {ticket}"),
        ("/poll/url", json!("/jobs/{ticket}/{prompt}"), "poll.url: there is no {prompt}"),
        ("/poll/status", json!("status"), "poll.status: "),
        ("/poll/status", Value::Null, "poll.status: where is the word"),
        ("/poll/done", Value::Null, "poll.done: "),
        ("/poll/every", json!("0s"), "poll.every: "),
        ("/poll/result", json!("results/{ticket}"), "poll.result: "),
        ("/images/at", json!("url"), "images.at: "),
        (
            "/images/url",
            json!("/view?x={x}"),
            "images.url: the host of these URLs must be listed in result_hosts",
        ),
        ("/images/url", json!("view"), "images.url: "),
        ("/errors", json!({"message": "text"}), "errors.message: "),
        ("/check", json!("/balance/{model}"), "check: there is no {model} here; there are: none"),
        ("/models", json!([]), "models: "),
        ("/models", json!([{"name": "a"}, {"name": "a"}]), "models[1].name: there are two"),
        ("/models/0", json!({"name": " "}), "models[0].name: "),
        ("/default_model", json!("other"), "default_model: `models` has none of the name `other`"),
        ("/models/0", json!({"name": "m", "max_n": 4}), "models[0].max_n: `submit` sends no {n}"),
        ("/models/0", json!({"name": "m", "max_n": 0}), "models[0].max_n: 0 is not"),
        (
            "/models/0",
            json!({"name": "m", "sizes": ["1x1", "2x2"]}),
            "models[0].sizes: `submit` sends no {size}",
        ),
        ("/models/0", json!({"name": "m", "sizes": ["big"]}), "models[0].sizes: `big` is not"),
        ("/models/0", json!({"name": "m", "steps": [1, 5]}), "models[0].steps: `submit` sends no {steps}"),
        ("/models/0", json!({"name": "m", "qualities": ["low"]}), "models[0].qualities: "),
        ("/models/0", json!({"name": "m", "styles": {"a": "b"}}), "models[0].styles: "),
        ("/models/0", json!({"name": "m", "references": [0, 4]}), "models[0].references: "),
        ("/submit/metod", json!("GET"), "metod"),
        ("/models/0", json!({"name": "m", "price": "free"}), "free"),
    ] {
        let why = refused(with(pointer, value.clone()));
        assert!(
            why.starts_with(told) || (!told.contains(": ") && why.contains(told)),
            "{pointer} {value}: {why}"
        );
    }
}

#[test]
fn bounds_of_sizes_are_checked() {
    let sized = |model: Value| {
        let mut settings = with("/models/0", model);
        settings["submit"]["body"]["size"] = "{size}".into();
        settings
    };
    for (sides, told) in [
        (json!({"least": 0, "most": 1024}), "models[0].sides: "),
        (json!({"least": 2048, "most": 1024}), "models[0].sides: "),
        (json!({"least": 64, "most": 1024, "multiple": 0}), "models[0].sides: "),
        (json!({"least": 64, "most": 512}), "models[0].sizes: the default 1024x1024 is not within"),
    ] {
        let why = refused(sized(json!({"name": "m", "sides": sides})));
        assert!(why.starts_with(told), "{why}");
    }
    let rule = |model: Value| build(sized(model)).capabilities("m").unwrap().sizes.clone();
    assert_eq!(rule(json!({"name": "m"})), SizeRule::Fixed(1024, 1024));
    assert_eq!(
        rule(json!({"name": "m", "sizes": ["512x512", "768x512"]})),
        SizeRule::List { sizes: vec![(512, 512), (768, 512)], auto: false }
    );
    let free = rule(json!({"name": "m", "sizes": ["768x512"], "sides": {"least": 64, "most": 1024}}));
    assert_eq!(free.default_size(), (768, 512));
    assert!(matches!(free, SizeRule::Free { multiple: 8, .. }), "{free:?}");
}

#[test]
fn what_a_model_can_do_follows_from_what_is_sent() {
    let bare = build(base());
    let bare = bare.capabilities("m").unwrap();
    assert_eq!((bare.class, bare.max_n, bare.seed, bare.negative_prompt), (Class::J, 1, false, false));
    assert_eq!((bare.steps.clone(), bare.references.clone(), bare.price.is_none()), (None, 0..=0, true));
    let body = json!({
        "p": "{prompt}", "np": "{negative_prompt}", "n": "{n}", "s": "{seed}", "st": "{steps}", "g": "{guidance|7}",
        "q": "{quality}", "sty": "{style}", "r": "{references}", "m": "{mask}", "b": "{background}",
        "f": "{output_format}", "c": "{output_compression}", "w": "{watermark}", "mo": "{moderation}",
        "pr": "{prompt_rewrite}", "u": "{user}", "strength": "{vendor.strength}"
    });
    let mut settings = with("/submit/body", body);
    settings["models"] = json!([{"name": "m", "max_n": 4, "guidance": [1, 9.5], "qualities": ["low", "high"],
        "styles": {"anime": "drawn"}, "formats": ["webp", "png"], "prompt_max": 100, "price": "0.04 USD",
        "price_date": "2026-11-21", "expected": "40s"}]);
    let full = build(settings);
    let full = full.capabilities("m").unwrap();
    assert!(full.negative_prompt && full.seed && full.mask && full.transparent && full.compression);
    assert!(full.watermark && full.moderation && full.prompt_rewrite && full.user && full.format_selectable);
    assert_eq!((full.max_n, full.steps.clone(), full.guidance.clone()), (4, Some(1..=150), Some(1.0..=9.5)));
    assert_eq!((full.references.clone(), full.vendor_options), (0..=4, &["strength"][..]));
    assert_eq!((full.styles.clone(), full.formats[0]), (vec![("anime", "drawn")], OutputFormat::Webp));
    assert_eq!((full.prompt_max, full.expected.as_secs()), (100, 40));
    let price = full.price.as_ref().unwrap();
    assert_eq!((price.currency, price.date), ("USD", "2026-11-21"));
    let request = plugin_api::ImageRequest { n: 2, ..plugin_api::ImageRequest::new("m", "x") };
    assert_eq!(price.estimate(&request, (1024, 1024)).unwrap().1.amount_micros, 80_000);
}

#[test]
fn the_default_model_is_the_first_or_the_one_that_is_named() {
    let names = json!([{"name": "b"}, {"name": "a"}, {"name": "c"}]);
    let mut settings = with("/models", names);
    assert_eq!(build(settings.clone()).models(), ["b", "a", "c"], "in the order of the file");
    settings["default_model"] = "c".into();
    assert_eq!(build(settings).models(), ["c", "b", "a"]);
}

#[test]
fn a_key_that_is_used_and_empty_switches_it_off_and_mistakes_are_told_all_the_same() {
    let off = (plugin_http::PLUGIN.build)(with("/api_key", json!("")));
    assert!(matches!(off, Ok(Built::Off(why)) if why.contains("api_key")));
    let mut unused = with("/api_key", json!(""));
    unused["headers"] = json!({});
    build(unused);
    let mut wrong = with("/api_key", json!(""));
    wrong["poll"]["url"] = "/jobs".into();
    assert!(refused(wrong).starts_with("poll.url: "));
}

#[test]
fn the_schema_names_and_explains_every_field() {
    let mut generator = schemars::SchemaGenerator::default();
    let schema = (plugin_http::PLUGIN.schema)(&mut generator).to_value();
    let definitions = generator.take_definitions(true);
    assert_eq!(schema["additionalProperties"], json!(false));
    let mut all: Vec<(&str, &Value)> = vec![("Http", &schema)];
    all.extend(definitions.iter().map(|(name, value)| (name.as_str(), value)));
    let mut fields = 0;
    for (name, definition) in
        all.into_iter().filter(|(name, _)| name.starts_with("Http") || name.starts_with("Declared"))
    {
        for (field, about) in definition["properties"].as_object().into_iter().flatten() {
            fields += 1;
            let plain = ["method", "qualities", "least", "most"].contains(&field.as_str());
            assert!(
                plain || about["description"].is_string() || about["$ref"].is_string(),
                "{name}.{field}: {about}"
            );
        }
    }
    assert!(fields > 45, "{fields}");
    for name in support::NAMES {
        let settings = settings(name, "http://127.0.0.1:1");
        for field in settings.as_object().unwrap().keys() {
            assert!(schema["properties"][field].is_object(), "{name}: {field}");
        }
    }
}
