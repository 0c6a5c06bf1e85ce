//! Fitting a request to a model: every rule of sizes, and of the other fields, strict and nearest.

use plugin_api::{
    Background, Capabilities, Fit, ImageRequest, Input, Moderation, NamedSize, OutputFormat, Parameters,
    Price, PriceTable, Quality, Refusal, Size, SizeRule, Tier, Unit,
};
use proptest::prelude::*;

/// Any size, as OpenAI's newer models have it.
fn flexible() -> Capabilities {
    let sizes = SizeRule::Free {
        multiple: 16,
        min_side: 16,
        max_side: 3840,
        min_pixels: 655_360,
        max_pixels: 8_294_400,
        max_ratio: 3.0,
        default: (1024, 1024),
        auto: true,
        tiers: vec![Tier::K2],
    };
    Capabilities { sizes, ..Capabilities::default() }
}

fn listed(auto: bool) -> Capabilities {
    let sizes = vec![(1024, 1024), (1536, 1024), (1024, 1536), (512, 512)];
    Capabilities { sizes: SizeRule::List { sizes, auto }, ..Capabilities::default() }
}

fn fixed() -> Capabilities {
    Capabilities { sizes: SizeRule::Fixed(1024, 1024), ..Capabilities::default() }
}

/// Ratios and tiers by name, as Gemini has them.
fn named() -> Capabilities {
    let row = |ratio, tier, pixels| NamedSize { ratio, tier, pixels };
    let sizes = vec![
        row("1:1", "1K", (1024, 1024)),
        row("1:1", "2K", (2048, 2048)),
        row("3:2", "1K", (1264, 848)),
        row("3:2", "2K", (2528, 1696)),
        row("16:9", "1K", (1376, 768)),
    ];
    Capabilities { sizes: SizeRule::Named { sizes, auto: true }, ..Capabilities::default() }
}

fn asking(change: impl FnOnce(&mut ImageRequest)) -> ImageRequest {
    let mut request = ImageRequest::new("m", "a fox");
    change(&mut request);
    request
}

fn sized(model: &Capabilities, size: &str, mode: Parameters) -> Result<Fit, Vec<Refusal>> {
    model.fit(&asking(|r| r.size = size.parse().expect("a size")), mode)
}

/// The size that is used, with a `~` where the change is reported; or the refused field and what is accepted.
fn told(model: &Capabilities, size: &str, mode: Parameters) -> String {
    match sized(model, size, mode) {
        Ok(fit) => {
            let changed = fit.adjustments.iter().find(|a| a.field == "size");
            if let Some(change) = changed {
                assert_eq!((change.asked.as_str(), &change.used), (size, &fit.request.size.to_string()));
            }
            format!("{}{}", if changed.is_some() { "~" } else { "" }, fit.request.size)
        }
        Err(refusals) => {
            assert_eq!(refusals.len(), 1, "{refusals:?}");
            assert_eq!(refusals[0].field, "size");
            format!("no: {}", refusals[0].accepted.clone().unwrap_or_default())
        }
    }
}

#[test]
fn an_allowed_size_is_used_as_it_is() {
    for mode in [Parameters::Strict, Parameters::Nearest] {
        assert_eq!(told(&flexible(), "1536x864", mode), "1536x864");
        assert_eq!(told(&flexible(), "3840x2160", mode), "3840x2160");
        assert_eq!(told(&listed(false), "1024x1536", mode), "1024x1536");
        assert_eq!(told(&fixed(), "1024x1024", mode), "1024x1024");
    }
}

#[test]
fn a_size_outside_the_rule_is_refused_with_the_rule_and_the_nearest() {
    let no = told(&flexible(), "1000x1000", Parameters::Strict);
    for word in ["steps of 16", "655360 to 8294400 pixels", "3:1", "the nearest is 1008x1008"] {
        assert!(no.contains(word), "{word} in {no}");
    }
    for size in ["16x16", "3840x1024", "4096x2048", "3840x2176", "1025x1024"] {
        assert!(told(&flexible(), size, Parameters::Strict).starts_with("no: "), "{size}");
    }
}

#[test]
fn a_size_outside_the_rule_becomes_the_nearest_of_its_ratio() {
    for (asked, used) in [
        ("1000x1000", "~1008x1008"),
        ("1920x1080", "~1920x1088"),
        ("8000x8000", "~2880x2880"),
        ("64x64", "~816x816"),
        ("9000x1000", "~3840x1280"),
    ] {
        assert_eq!(told(&flexible(), asked, Parameters::Nearest), used, "{asked}");
    }
}

#[test]
fn a_size_that_is_not_listed_is_refused_with_the_list_or_becomes_the_nearest_entry() {
    let no = told(&listed(true), "1920x1080", Parameters::Strict);
    assert_eq!(no, "no: 1024x1024, 1536x1024, 1024x1536, 512x512, auto");
    for (asked, used) in [
        ("1920x1080", "~1536x1024"),
        ("600x900", "~1024x1536"),
        ("600x600", "~512x512"),
        ("999x999", "~1024x1024"),
    ] {
        assert_eq!(
            told(&listed(true), asked, Parameters::Nearest),
            used,
            "nearest ratio first, then area: {asked}"
        );
    }
    assert_eq!(told(&fixed(), "512x512", Parameters::Strict), "no: 1024x1024 only");
    assert_eq!(told(&fixed(), "512x512", Parameters::Nearest), "~1024x1024");
}

#[test]
fn a_ratio_is_computed_at_the_default_area() {
    for mode in [Parameters::Strict, Parameters::Nearest] {
        assert_eq!(told(&flexible(), "1:1", mode), "1024x1024");
        assert_eq!(told(&flexible(), "16:9", mode), "1360x768");
        assert_eq!(told(&listed(false), "3:2", mode), "1536x1024");
        assert_eq!(told(&fixed(), "1:1", mode), "1024x1024");
    }
    assert!(told(&listed(false), "16:9", Parameters::Strict).starts_with("no: 1024x1024"));
    assert_eq!(told(&listed(false), "16:9", Parameters::Nearest), "~1536x1024");
    assert!(told(&flexible(), "8:1", Parameters::Strict).starts_with("no: "), "over 3:1");
    assert!(told(&fixed(), "3:2", Parameters::Strict).starts_with("no: "));
}

#[test]
fn a_ratio_that_the_vendor_has_a_size_for_gets_that_size() {
    let model = Capabilities { ratios: vec![(1360, 768), (16, 3840)], ..flexible() };
    for (ratio, size) in [("16:9", "1360x768"), ("3:2", "1248x832"), ("1:240", "no: ")] {
        let got = told(&model, ratio, Parameters::Strict);
        assert!(got == size || (size == "no: " && got.starts_with(size)), "{ratio}: {got}");
    }
}

#[test]
fn rules_between_arguments_are_asked_last_and_in_both_modes() {
    let alone = |caps: &Capabilities, r: &ImageRequest| match (r.seed, r.steps) {
        (Some(_), Some(_)) if caps.seed => vec![Refusal::new("seed", "not with steps", "one of the two")],
        _ => Vec::new(),
    };
    let model = Capabilities { seed: true, steps: Some(1..=50), rules: alone, ..fixed() };
    let both = asking(|r| (r.seed, r.steps) = (Some(1), Some(2)));
    for mode in [Parameters::Strict, Parameters::Nearest] {
        let refused = model.fit(&both, mode).unwrap_err();
        assert_eq!(refused[0].field, "seed", "{mode:?}");
        assert!(model.fit(&asking(|r| r.seed = Some(1)), mode).is_ok());
    }
}

#[test]
fn a_tier_is_the_vendors_own_or_a_square_of_its_area() {
    for mode in [Parameters::Strict, Parameters::Nearest] {
        assert_eq!(told(&flexible(), "2K", mode), "2K", "the vendor knows this one");
        assert_eq!(told(&flexible(), "1K", mode), "1024x1024");
        assert_eq!(told(&listed(false), "1K", mode), "1024x1024");
    }
    assert!(told(&flexible(), "4K", Parameters::Strict).starts_with("no: "), "half the area is not 4K");
    assert_eq!(told(&flexible(), "4K", Parameters::Nearest), "~2880x2880");
    assert!(told(&fixed(), "2K", Parameters::Strict).starts_with("no: "));
    assert_eq!(told(&fixed(), "2K", Parameters::Nearest), "~1024x1024");
}

#[test]
fn auto_is_left_to_the_vendor_where_it_can_choose() {
    for mode in [Parameters::Strict, Parameters::Nearest] {
        assert_eq!(told(&flexible(), "auto", mode), "auto");
        assert_eq!(told(&listed(true), "auto", mode), "auto");
        assert_eq!(told(&listed(false), "auto", mode), "1024x1024", "else the model's default");
        assert_eq!(told(&fixed(), "auto", mode), "1024x1024");
    }
}

/// Short, usual and huge sides alike: the bounds of the rule are met from every direction.
fn side() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..100, 300_u32..2_000, 2_000_u32..5_000, 5_000_u32..60_000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn the_nearest_size_is_always_allowed(width in side(), height in side()) {
        let model = flexible();
        let asked = Size::exact(width, height);
        let fit = model.fit(&asking(|r| r.size = asked), Parameters::Nearest).unwrap();
        let Size::Exact { width: w, height: h } = fit.request.size else { panic!("{asked} became {}", fit.request.size) };
        prop_assert!(w % 16 == 0 && h % 16 == 0, "{asked} became {w}x{h}");
        prop_assert!(w.max(h) <= 3840 && w.max(h) <= 3 * w.min(h), "{asked} became {w}x{h}");
        prop_assert!((655_360..=8_294_400).contains(&(w * h)), "{asked} became {w}x{h}");
        let again = model.fit(&fit.request, Parameters::Strict);
        prop_assert!(again.is_ok(), "what was fitted fits: {asked} became {w}x{h}");
    }

    #[test]
    fn a_fitted_ratio_is_always_allowed(width in 1_u32..100, height in 1_u32..100) {
        let model = flexible();
        let fit = model.fit(&asking(|r| r.size = Size::Ratio { width, height }), Parameters::Nearest).unwrap();
        prop_assert!(model.fit(&fit.request, Parameters::Strict).is_ok(), "{width}:{height} became {}", fit.request.size);
    }

    #[test]
    fn fitting_never_fails_for_looks_when_nearest_is_enough(seed: Option<u32>, steps: Option<u32>, watermark: Option<bool>) {
        let request = asking(|r| (r.seed, r.steps, r.watermark) = (seed, steps, watermark));
        let fit = flexible().fit(&request, Parameters::Nearest).unwrap();
        prop_assert!(flexible().fit(&fit.request, Parameters::Strict).is_ok());
    }
}

type Fields = Vec<String>;

/// The fields refused when strict, and the request that `nearest` makes instead with the fields it reports.
fn both(model: &Capabilities, request: &ImageRequest) -> (Fields, Result<(ImageRequest, Fields), Fields>) {
    let fields = |refusals: Vec<Refusal>| refusals.into_iter().map(|r| r.field).collect::<Fields>();
    let strict = model.fit(request, Parameters::Strict).map_or_else(fields, |_| Vec::new());
    let nearest = model.fit(request, Parameters::Nearest).map_err(fields);
    (strict, nearest.map(|f| (f.request, f.adjustments.into_iter().map(|a| a.field).collect())))
}

#[test]
fn what_a_model_cannot_do_is_refused_when_strict_and_left_out_when_nearest() {
    type Change = fn(&mut ImageRequest);
    let rows: [(&str, Change); 8] = [
        ("quality", |r| r.quality = Some(Quality::High)),
        ("seed", |r| r.seed = Some(1)),
        ("steps", |r| r.steps = Some(1)),
        ("guidance", |r| r.guidance = Some(1.0)),
        ("watermark", |r| r.watermark = Some(true)),
        ("moderation", |r| r.moderation = Some(Moderation::Low)),
        ("prompt_rewrite", |r| r.prompt_rewrite = Some(true)),
        ("background", |r| r.background = Some(Background::Transparent)),
    ];
    for (field, change) in rows {
        let (strict, nearest) = both(&fixed(), &asking(change));
        assert_eq!(strict, [field]);
        let (request, reported) = nearest.unwrap();
        assert_eq!(reported, [field]);
        assert_eq!(both(&fixed(), &request).0, Vec::<String>::new(), "{field} is out of the request");
    }
}

#[test]
fn all_refusals_come_at_once() {
    let request = asking(|r| {
        (r.seed, r.quality) = (Some(1), Some(Quality::Low));
        r.size = Size::exact(5, 5);
        r.n = 9;
    });
    assert_eq!(both(&fixed(), &request).0, ["size", "quality", "seed", "n"]);
}

#[test]
fn values_out_of_range_go_to_the_nearest_bound() {
    let model = Capabilities {
        steps: Some(1..=8),
        guidance: Some(2.0..=10.0),
        qualities: vec![Quality::Low, Quality::Medium],
        ..fixed()
    };
    let request = asking(|r| {
        (r.steps, r.guidance, r.quality) = (Some(20), Some(0.5), Some(Quality::Max));
    });
    let (strict, nearest) = both(&model, &request);
    assert_eq!(strict, ["quality", "steps", "guidance"]);
    let used = nearest.unwrap().0;
    assert_eq!((used.steps, used.guidance, used.quality), (Some(8), Some(2.0), Some(Quality::Medium)));
}

#[test]
fn a_prompt_takes_up_what_has_no_field_and_says_so_even_when_strict() {
    let request =
        asking(|r| (r.negative_prompt, r.style) = (Some("rain".into()), Some("watercolour".into())));
    let fit = fixed().fit(&request, Parameters::Strict).unwrap();
    assert_eq!(fit.request.prompt, "a fox, watercolour. Avoid: rain");
    let fields: Vec<_> = fit.adjustments.iter().map(|a| a.field.as_str()).collect();
    assert_eq!(fields, ["style", "negative_prompt"]);

    let native = Capabilities { negative_prompt: true, styles: vec![("ink", "ink drawing")], ..fixed() };
    let (strict, _) = both(&native, &request);
    assert_eq!(strict, ["style"], "a model with styles of its own has only those");
    let kept = native.fit(&asking(|r| r.negative_prompt = Some("rain".into())), Parameters::Strict).unwrap();
    assert_eq!((kept.request.negative_prompt.as_deref(), kept.adjustments.len()), (Some("rain"), 0));
}

#[test]
fn a_prompt_is_counted_in_characters_and_never_cut() {
    let model = Capabilities { prompt_max: 4, ..fixed() };
    assert!(both(&model, &asking(|r| r.prompt = "狐狸雪地".into())).0.is_empty(), "four characters");
    let (strict, nearest) = both(&model, &asking(|r| r.prompt = "a fox".into()));
    assert_eq!((strict, nearest.unwrap_err()), (vec!["prompt".into()], vec!["prompt".into()]));
    // What is put into the prompt counts too.
    let (strict, _) =
        both(&model, &asking(|r| (r.prompt, r.negative_prompt) = ("fox".into(), Some("x".into()))));
    assert_eq!(strict, ["prompt"]);
}

#[test]
fn a_format_is_never_a_refusal_but_for_transparent_jpeg() {
    let jpeg = asking(|r| r.output_format = Some(OutputFormat::Jpeg));
    let fit = fixed().fit(&jpeg, Parameters::Strict).unwrap();
    assert_eq!((fit.request.output_format, fit.adjustments[0].used.as_str()), (None, "png"));
    let same =
        fixed().fit(&asking(|r| r.output_format = Some(OutputFormat::Png)), Parameters::Strict).unwrap();
    assert_eq!(
        (same.request.output_format, same.adjustments.len()),
        (None, 0),
        "png is what it makes anyway"
    );

    let all = Capabilities {
        formats: vec![OutputFormat::Png, OutputFormat::Jpeg],
        format_selectable: true,
        transparent: true,
        compression: true,
        ..fixed()
    };
    assert_eq!(all.fit(&jpeg, Parameters::Strict).unwrap().request.output_format, Some(OutputFormat::Jpeg));
    let see_through = asking(|r| {
        (r.background, r.output_format) = (Some(Background::Transparent), Some(OutputFormat::Jpeg));
    });
    let (strict, nearest) = both(&all, &see_through);
    assert_eq!((strict, nearest.unwrap_err()), (vec!["output_format".into()], vec!["output_format".into()]));

    let pressed = |format| asking(|r| (r.output_compression, r.output_format) = (Some(80), format));
    assert!(both(&all, &pressed(Some(OutputFormat::Jpeg))).0.is_empty());
    for (model, request) in [(&all, pressed(None)), (&fixed(), pressed(None))] {
        let (strict, nearest) = both(model, &request);
        assert_eq!(strict, ["output_compression"]);
        assert_eq!(nearest.unwrap().0.output_compression, None);
    }
}

#[test]
fn inputs_and_counts_are_never_dropped() {
    let edits = Capabilities { references: 1..=2, mask: true, max_n: 2, ..fixed() };
    let with = |references: usize, mask: bool, n: u32| {
        asking(|r| {
            r.references = vec![Input::default(); references];
            r.mask = mask.then(Input::default);
            r.n = n;
        })
    };
    for (model, request, fields) in [
        (&edits, with(2, true, 2), vec![]),
        (&edits, with(0, false, 1), vec!["references"]),
        (&edits, with(3, false, 1), vec!["references"]),
        (&edits, with(1, false, 3), vec!["n"]),
        (&fixed(), with(1, true, 1), vec!["references", "mask"]),
        (&Capabilities { references: 0..=1, mask: true, ..fixed() }, with(0, true, 1), vec!["mask"]),
    ] {
        let (strict, nearest) = both(model, &request);
        assert_eq!(strict, fields, "{request:?}");
        assert_eq!(
            nearest.err().unwrap_or_default(),
            fields,
            "nearest changes nothing about inputs: {request:?}"
        );
    }
}

#[test]
fn an_unknown_vendor_option_is_refused_by_its_name() {
    let model = Capabilities { vendor_options: &["fidelity"], ..fixed() };
    let with = |key: &str| asking(|r| drop(r.vendor.insert(key.into(), true.into())));
    assert!(both(&model, &with("fidelity")).0.is_empty());
    let refusals = model.fit(&with("turbo"), Parameters::Nearest).unwrap_err();
    assert!(refusals[0].reason.contains("turbo") && refusals[0].accepted.as_deref() == Some("fidelity"));
}

#[test]
fn what_changes_nothing_is_not_reported() {
    let request = asking(|r| {
        r.background = Some(Background::Opaque);
        r.watermark = Some(false);
        r.prompt_rewrite = Some(false);
        r.quality = Some(Quality::Auto);
        r.user = Some("u".into());
    });
    let fit = fixed().fit(&request, Parameters::Strict).unwrap();
    assert!(fit.adjustments.is_empty(), "{:?}", fit.adjustments);
    assert_eq!((fit.request.background, fit.request.user), (None, None));
}

#[test]
fn a_models_own_rules_see_the_fitted_request_and_refuse_in_both_modes() {
    let model = Capabilities {
        seed: true,
        prompt_rewrite: true,
        rules: |_, r| match (r.seed, r.prompt_rewrite) {
            (Some(_), Some(true)) => vec![Refusal::new("seed", "not while the prompt is rewritten", None)],
            _ => Vec::new(),
        },
        ..fixed()
    };
    let both = asking(|r| (r.seed, r.prompt_rewrite) = (Some(7), Some(true)));
    for mode in [Parameters::Strict, Parameters::Nearest] {
        assert_eq!(model.fit(&both, mode).unwrap_err()[0].field, "seed", "{mode:?}");
        assert!(model.fit(&asking(|r| r.seed = Some(7)), mode).is_ok(), "{mode:?}");
    }
    let seedless = Capabilities { seed: false, ..model };
    assert!(seedless.fit(&both, Parameters::Nearest).is_ok(), "what fitting took out breaks no rule");
}

#[test]
fn a_named_size_is_the_nearest_ratio_and_the_smallest_tier_that_covers() {
    use Parameters::{Nearest, Strict};
    let model = named();
    for (size, used) in [
        ("auto", "auto"),
        ("1024x1024", "1024x1024"),
        ("2K", "2048x2048"),
        ("1:1", "1024x1024"),
        ("3:2", "1264x848"),
        ("16:9", "1376x768"),
    ] {
        assert_eq!(told(&model, size, Strict), used, "{size}");
    }
    let strict = told(&model, "1536x1024", Strict);
    assert_eq!(strict, "no: 1:1, 3:2, 16:9 at 1K, 2K, or auto; the nearest is 2528x1696");
    for (size, used) in [
        ("1536x1024", "~2528x1696"),
        ("1248x832", "~1264x848"),
        ("1280x720", "~1376x768"),
        ("3840x2160", "~1376x768"), // none covers it: the largest
        ("64x64", "~1024x1024"),
        ("3K", "~2048x2048"), // larger or smaller is a change
    ] {
        assert_eq!(told(&model, size, Nearest), used, "{size}");
    }
}

#[test]
fn a_model_whose_vendor_chooses_takes_no_size() {
    let sizes = SizeRule::List { sizes: Vec::new(), auto: true };
    let model = Capabilities { sizes, ..Capabilities::default() };
    assert_eq!(told(&model, "auto", Parameters::Strict), "auto");
    for size in ["1024x1024", "3:2", "2K"] {
        assert_eq!(told(&model, size, Parameters::Strict), "no: auto", "{size}");
        assert_eq!(told(&model, size, Parameters::Nearest), "~auto", "{size}");
    }
}

#[test]
fn a_price_can_rise_in_steps_with_the_size() {
    let unit = Unit::BySize(&[(1_048_576, 100), (4_194_304, 150)]);
    let rows = vec![Price { quality: None, unit }];
    let table = PriceTable { currency: "USD", date: "2026-11-21", source: "test", rows };
    for (size, micros) in
        [("auto", 100), ("1024x1024", 100), ("1025x1024", 150), ("2K", 150), ("8000x8000", 150)]
    {
        let request = asking(|r| r.size = size.parse().expect("a size"));
        let (expected, most) = table.estimate(&request, (1024, 1024)).expect("a row fits");
        assert_eq!((expected.amount_micros, most.amount_micros), (micros, micros), "{size}");
    }
}

#[test]
fn the_words_of_a_style_stand_before_what_is_to_be_avoided() {
    let styles = vec![("ink", "ink wash painting"), ("none", "")];
    let caps = Capabilities { styles, styles_in_words: true, ..Capabilities::default() };
    let fitted = |style: &str| {
        let asked = ImageRequest {
            style: Some(style.into()),
            negative_prompt: Some("blur".into()),
            ..ImageRequest::new("m", "a fox")
        };
        caps.fit(&asked, Parameters::Nearest).unwrap()
    };
    let ink = fitted("ink");
    assert_eq!(ink.request.prompt, "a fox, ink wash painting. Avoid: blur");
    assert_eq!(
        (ink.request.style, ink.adjustments[0].used.as_str()),
        (None, "in the prompt: ink wash painting")
    );
    assert_eq!(fitted("none").request.prompt, "a fox. Avoid: blur");
}
