//! That every model and route ends in something that can serve it, at a price.

use super::*;

const PROVIDERS: &str = "\
providers:
  cards: {kind: placeholder}
  ai: {kind: openai, api_key: k}
  q: {kind: qwen, api_key: k}
  lab: {kind: openai, base_url: 'http://127.0.0.1:1/v1', models: [sd]}
  off: {kind: openai}
";

/// What is reported of these lines below the providers, which are lines 1 to 6.
fn reported(yaml: &str) -> String {
    errors(&format!("{PROVIDERS}{yaml}"))
}

fn warned(yaml: &str) -> Vec<String> {
    let yaml = format!("{PROVIDERS}{yaml}");
    load_text(&yaml).unwrap_or_else(|errors| panic!("{yaml}{errors}")).warnings
}

#[test]
fn a_target_that_no_vendor_has_is_named_with_the_nearest() {
    assert_eq!(
        reported("models: {m: {targets: [ai/gpt-image-2, cards/crad]}}"),
        "config.yaml:7:40: models.m.targets[1]: `cards` has no model `crad`; did you mean `card`?"
    );
    assert_eq!(
        reported("models: {}\nroutes:\n  - {name: r, to: [{to: cards/crd}]}"),
        "config.yaml:9:20: routes[0].to[0]: `cards` has no model `crd`; did you mean `card`?"
    );
    assert!(
        warned("models: {m: {targets: [off/whatever, cards/card]}}").is_empty(),
        "nobody knows while it is off"
    );
}

#[test]
fn a_route_must_be_served_by_all_of_its_targets() {
    for (route, path, says) in [
        ("when: {size: 17x17}, to: [ai/gpt-image-2]", "to[0]", "`size`"),
        ("when: {quality: high}, to: [ai/gpt-image-2, q/qwen-image-2.0]", "to[1]", "`quality`"),
        ("when: {references: true}, to: [q/wan2.2-t2i-flash]", "to[0]", "`references`"),
        ("when: {tool: edit_image}, to: [q/wan2.2-t2i-flash]", "to[0]", "`references`"),
        ("when: {provider: q}, to: [cards/card]", "when.provider", "none of the route's targets is at `q`"),
        (
            "when: {size: [1024x1024, 17x17]}, to: [ai/gpt-image-2]",
            "when",
            "no target of this route can serve size `17x17`",
        ),
    ] {
        let said = reported(&format!("models: {{}}\nroutes: [{{{route}}}]"));
        assert!(said.contains(&format!("routes[0].{path}: ")) && said.contains(says), "{route}: {said}");
        assert_eq!(said.lines().count(), 1, "{route}: {said}");
    }
    for route in [
        "when: {size: [1024x1024, 1536x1024], quality: [low, high]}, to: [ai/gpt-image-2]",
        "when: {team: default, provider: ai}, to: [ai/gpt-image-2, cards/card]",
        "when: {size: '1*'}, to: [cards/card]",
        "when: {references: false}, to: [q/wan2.2-t2i-flash]",
    ] {
        assert_eq!(warned(&format!("models: {{}}\nroutes: [{{{route}}}]")), [""; 0], "{route}");
    }
}

#[test]
fn fallbacks_are_of_one_kind() {
    let said = reported("models: {m: {targets: [q/wan2.2-t2i-flash, q/qwen-image-edit]}}");
    assert!(
        said.starts_with("config.yaml:7:44: models.m.targets[1]: `q/qwen-image-edit` only changes images")
            && said.contains("a fallback must be of the same kind"),
        "{said}"
    );
    assert_eq!(
        warned("models: {m: {targets: [ai/gpt-image-2, q/qwen-image-edit]}}"),
        [""; 0],
        "the first does both"
    );
}

#[test]
fn a_default_that_a_target_cannot_take_is_a_wish_and_no_condition() {
    let defaults = "defaults: {quality: high, size: 17x17}";
    let model = format!("models: {{m: {{targets: [ai/gpt-image-2, q/qwen-image-2.0], {defaults}}}}}");
    assert_eq!(warned(&model), [""; 0]);
    assert_eq!(warned(&format!("{model}\nroutes: [{{when: {{model: m}}, to: [cards/card]}}]")), [""; 0]);
}

#[test]
fn a_price_is_needed_where_money_is_counted() {
    let model = "models: {m: {targets: [cards/card, lab/sd]}}";
    let free = warned(model);
    assert!(free.len() == 1 && free[0].starts_with("models.m.targets[1]: `lab/sd` has no price"), "{free:?}");
    for budget in [
        "limits: {overall: {spend: 5 USD/day}}",
        "limits: {per_team: {spend: [5 USD/day]}}",
        "limits: {per_key: {spend: 5 USD/day}}",
        "teams: {a: {models: ['m*'], limits: {spend: 5 USD/day}}}",
    ] {
        let said = reported(&format!("{model}\n{budget}"));
        let place = "config.yaml:7:36: models.m.targets[1]: `lab/sd` has no price, so no call that ";
        assert!(said.starts_with(place) && said.contains(".spend counts"), "{budget}: {said}");
        let ceiling =
            warned(&format!("{model}\n{budget}\nrouting: {{unpriced: 0.10 USD, default_model: []}}"));
        assert_eq!(ceiling, [""; 0], "a ceiling is reserved");
    }
    let other = warned(&format!("{model}\nteams: {{a: {{models: [x], limits: {{spend: 5 USD/day}}}}}}"));
    assert_eq!(other.len(), 1, "that team may not use it");
    let priced =
        "models: {m: {targets: [lab/sd], price: [{image: 0 USD}]}}\nlimits: {overall: {spend: 5 USD/day}}";
    assert_eq!(warned(priced), [""; 0], "free is a price");
}

#[test]
fn overrides_and_limits_of_providers_are_checked_field_by_field() {
    for (yaml, wanted) in [
        (
            "models: {m: {targets: [cards/card], capabilities: {sizes: [1x1, big]}}}",
            "config.yaml:7:65: models.m.capabilities.sizes[1]: `big` is not a size in pixels, such as 1024x1024",
        ),
        (
            "models: {m: {targets: [cards/card], capabilities: {mask: many}}}",
            "config.yaml:7:58: models.m.capabilities.mask: expected true or false, found text",
        ),
    ] {
        assert_eq!(reported(yaml), wanted);
    }
    let limited = "providers: {a: {kind: placeholder, limits: {requests: 1/min, images: 5/day}}}\nmodels: {}";
    let said = errors(limited);
    assert!(said.contains("1:45: providers.a.limits.requests: ") && said.contains("use `rate`"), "{said}");
    let weightless = "providers: {a: {kind: openai, api_keys: [{id: x, value: k, weight: 0}]}}\nmodels: {}";
    assert!(errors(weightless).contains("providers.a.api_keys[0].weight: must be more than zero"));
    let both = "providers: {a: {kind: openai, api_key: k, api_keys: [{id: x, value: k}]}}\nmodels: {}";
    let said = errors(both);
    assert!(said.contains("providers.a.api_keys: `api_key` is set too") && !said.contains("value"), "{said}");
}

#[test]
fn a_route_that_is_never_reached_is_told() {
    let warnings = warned(
        "models: {}\nroutes: [{name: all, to: [cards/card]}, {when: {team: default}, to: [cards/card]}]",
    );
    assert_eq!(warnings, ["routes[1]: it is never reached, because routes[0] takes every call"]);
}
