//! What each model is sent, and what it refuses.

use super::*;

fn sent(model: &str, change: impl FnOnce(&mut ImageRequest)) -> Value {
    let request = fitted(model, change);
    let api = both().model(model).unwrap().api;
    if api.is_tc3() {
        serde_json::to_value(actions::body(api, &request)).unwrap()
    } else {
        serde_json::to_value(tokenhub::body(api, &request)).unwrap()
    }
}

/// The fields that a model refuses.
fn refused(model: &str, change: impl FnOnce(&mut ImageRequest)) -> Vec<String> {
    let mut asked = ImageRequest::new(model, "a fox");
    change(&mut asked);
    let fit = both().capabilities(model).unwrap().fit(&asked, Parameters::Strict);
    fit.map_or_else(|all| all.into_iter().map(|refusal| refusal.field).collect(), |_| Vec::new())
}

fn vendor(options: Value) -> serde_json::Map<String, Value> {
    options.as_object().unwrap().clone()
}

#[test]
fn the_least_that_is_sent_says_what_the_vendor_would_choose_otherwise() {
    for (model, body) in [
        (
            "hy-image-v3.0",
            json!({"model": "hy-image-v3.0", "prompt": "a fox", "resolution": "1024:1024", "revise": 1, "logo_add": 0}),
        ),
        (
            "hy-image-lite",
            json!({"model": "hy-image-lite", "prompt": "a fox", "rsp_img_type": "base64", "logo_add": 0}),
        ),
        (
            "hy-image-v3",
            json!({"model": "hy-image-v3", "prompt": "a fox", "size": "1024x1024", "revise": true}),
        ),
        (
            "hy-image-v3.5-preview",
            json!({
                "model": "hy-image-v3.5-preview", "logo_add": 0,
                "messages": [{"role": "user", "content": [{"type": "text", "text": "a fox"}]}],
            }),
        ),
        (
            "hunyuan-image-3.0",
            json!({"Prompt": "a fox", "Resolution": "1024:1024", "Revise": 1, "LogoAdd": 0}),
        ),
        (
            "hunyuan-image",
            json!({"Prompt": "a fox", "Resolution": "1024:1024", "Num": 1, "Revise": 1, "LogoAdd": 0}),
        ),
        ("hunyuan-image-chat", json!({"Prompt": "a fox", "LogoAdd": 0})),
        ("hunyuan-lite", json!({"Prompt": "a fox", "RspImgType": "base64", "LogoAdd": 0})),
        ("hunyuan-rapid", json!({"Prompt": "a fox", "RspImgType": "base64", "LogoAdd": 0})),
    ] {
        assert_eq!(sent(model, |_| {}), body, "{model}");
    }
    assert_eq!(both().models().len(), 9, "every model was looked at");
}

#[test]
fn everything_that_a_model_takes_arrives_under_the_vendors_names() {
    let full = |r: &mut ImageRequest| {
        r.style = Some("shuimo".into());
        r.seed = Some(7);
        r.watermark = Some(true);
        r.size = "3:4".parse().unwrap();
    };
    let with_text = |r: &mut ImageRequest| {
        full(r);
        r.negative_prompt = Some("blur".into());
    };
    let words = "a fox, Chinese ink wash painting style";
    assert_eq!(
        sent("hunyuan-image", |r| {
            with_text(r);
            r.n = 2;
            r.vendor = vendor(json!({"Clarity": "x2"}));
        }),
        json!({"Prompt": "a fox", "NegativePrompt": "blur", "Style": "shuimo", "Resolution": "768:1024", "Num": 2,
               "Seed": 7, "Revise": 0, "LogoAdd": 1, "Clarity": "x2"})
    );
    assert_eq!(
        sent("hunyuan-image", |r| r.references = vec![png(b"abc", 64)]),
        json!({"Prompt": "a fox", "Resolution": "1024:1024", "Num": 1, "Revise": 1, "LogoAdd": 0,
               "ContentImage": {"ImageBase64": "YWJj"}})
    );
    assert_eq!(
        sent("hunyuan-image-3.0", |r| {
            with_text(r);
            r.references = vec![png(b"abc", 64), png(b"abd", 64)];
        }),
        json!({"Prompt": "a fox, Chinese ink wash painting style. Avoid: blur", "Resolution": "887:1182", "Seed": 7,
               "Revise": 0, "LogoAdd": 1, "Images": ["YWJj", "YWJk"]})
    );
    assert_eq!(
        sent("hunyuan-image-chat", |r| {
            r.style = Some("shuimo".into());
            r.vendor = vendor(json!({"ChatId": "c-1"}));
        }),
        json!({"Prompt": words, "ChatId": "c-1", "LogoAdd": 0})
    );
    assert_eq!(
        sent("hunyuan-lite", |r| {
            r.negative_prompt = Some("blur".into());
            (r.style, r.size) = (Some("101".into()), Size::exact(1080, 1920));
        }),
        json!({"Prompt": "a fox", "NegativePrompt": "blur", "Style": "101", "Resolution": "1080:1920", "LogoAdd": 0,
               "RspImgType": "base64"})
    );
    assert_eq!(
        sent("hunyuan-rapid", |r| {
            (r.style, r.size, r.seed) = (Some("16".into()), Size::exact(720, 1280), Some(7));
        }),
        json!({"Prompt": "a fox", "Style": "16", "Resolution": "720:1280", "Seed": 7, "LogoAdd": 0, "RspImgType": "base64"})
    );
    assert_eq!(
        sent("hunyuan-rapid", |r| r.references = vec![png(b"abc", 256)]),
        json!({"Prompt": "a fox", "Image": {"Base64": "YWJj"}, "LogoAdd": 0, "RspImgType": "base64"})
    );
    assert_eq!(
        sent("hy-image-v3.0", |r| {
            full(r);
            r.references = vec![png(b"abc", 64)];
        }),
        json!({"model": "hy-image-v3.0", "prompt": words, "images": ["YWJj"], "resolution": "887:1182", "seed": 7,
               "revise": 0, "logo_add": 1})
    );
    assert_eq!(
        sent("hy-image-lite", with_text),
        json!({"model": "hy-image-lite", "prompt": words, "negative_prompt": "blur", "resolution": "960:1280",
               "seed": 7, "logo_add": 1, "rsp_img_type": "base64"})
    );
    assert_eq!(
        sent("hy-image-v3", |r| {
            r.prompt_rewrite = Some(false);
            r.references = vec![png(b"abc", 64)];
            r.vendor = vendor(json!({"footnote": "a note"}));
        }),
        json!({"model": "hy-image-v3", "prompt": "a fox", "images": ["data:image/png;base64,YWJj"],
               "size": "1024x1024", "revise": false, "footnote": "a note"})
    );
    let options =
        json!({"footnote": "a note", "session": "s-1", "use_search_tool": true, "generate_max_pixels": 99});
    let mut wanted = json!({
        "model": "hy-image-v3.5-preview", "size": "4096x4096", "seed": 7, "logo_add": 0,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a fox"}]}],
    });
    wanted.as_object_mut().unwrap().extend(vendor(options.clone()));
    let largest = sent("hy-image-v3.5-preview", |r| {
        (r.size, r.seed, r.vendor) = ("4K".parse().unwrap(), Some(7), vendor(options));
    });
    assert_eq!(largest, wanted);
}

#[test]
fn what_the_vendor_would_ignore_is_refused_before_the_call() {
    let reference = |side| vec![png(b"abc", side)];
    let none: [&str; 0] = [];
    for model in ["hy-image-v3.0", "hy-image-v3", "hunyuan-image", "hunyuan-image-3.0"] {
        assert_eq!(
            refused(model, |r| (r.seed, r.prompt_rewrite) = (Some(7), Some(true))),
            ["prompt_rewrite"]
        );
        assert_eq!(refused(model, |r| (r.seed, r.prompt_rewrite) = (Some(7), Some(false))), none);
    }
    for model in both().models() {
        let zero = refused(&model, |r| r.seed = Some(0));
        assert_eq!(zero, ["seed"], "{model}: 0 is no seed, or there is none");
        for (field, change) in [
            ("quality", (|r| r.quality = Some(plugin_api::Quality::High)) as fn(&mut ImageRequest)),
            ("steps", |r| r.steps = Some(20)),
            ("guidance", |r| r.guidance = Some(7.0)),
            ("background", |r| r.background = Some(plugin_api::Background::Transparent)),
            ("output_compression", |r| r.output_compression = Some(50)),
            ("moderation", |r| r.moderation = Some(plugin_api::Moderation::Low)),
            ("vendor", |r| drop(r.vendor.insert("LogoParam".into(), json!({})))),
            ("style", |r| r.style = Some("impossible".into())),
        ] {
            assert_eq!(refused(&model, change), [field], "{model}");
        }
        let masked = refused(&model, |r| r.mask = Some(Input::default()));
        assert_eq!(masked, ["mask"], "{model}");
    }
    let image = |change: fn(&mut ImageRequest)| refused("hunyuan-image", change);
    assert_eq!(image(|r| r.size = Size::exact(720, 1280)), none);
    assert_eq!(image(|r| r.n = 5), ["n"]);
    assert_eq!(image(|r| drop(r.vendor.insert("Clarity".into(), "x3".into()))), ["vendor"]);
    let with_reference = |change: fn(&mut ImageRequest)| {
        refused("hunyuan-image", |r| {
            r.references = reference(64);
            change(r);
        })
    };
    assert_eq!(with_reference(|r| r.size = Size::exact(720, 1280)), ["size"]);
    assert_eq!(with_reference(|r| r.seed = Some(7)), ["seed"]);
    assert_eq!(with_reference(|r| r.prompt_rewrite = Some(false)), ["prompt_rewrite"]);
    let rapid = |change: fn(&mut ImageRequest)| {
        refused("hunyuan-rapid", |r| {
            r.references = reference(256);
            change(r);
        })
    };
    assert_eq!(rapid(|r| r.style = Some("1".into())), ["style"]);
    assert_eq!(rapid(|r| r.size = Size::exact(768, 768)), ["size"]);
    assert_eq!(rapid(|_| {}), none);
    assert_eq!(
        refused("hy-image-v3", |r| r.watermark = Some(true)),
        ["watermark"],
        "it has no field for one"
    );
    assert_eq!(
        refused("hy-image-v3", |r| drop(r.vendor.insert("footnote".into(), "x".repeat(17).into()))),
        ["vendor"]
    );
    assert_eq!(
        refused("hunyuan-image-chat", |r| drop(r.vendor.insert("ChatId".into(), json!(7)))),
        ["vendor"]
    );
}

#[test]
fn references_and_prompts_over_the_vendors_bounds_are_refused() {
    static LARGE: [u8; 4_600_000] = [0; 4_600_000];
    let with = |model: &str, input: Input| refused(model, |r| r.references = vec![input]);
    assert_eq!(with("hunyuan-image-3.0", png(&LARGE, 64)), ["references"], "over 6 MB as base64");
    assert_eq!(with("hunyuan-image", png(&LARGE, 64)), [""; 0], "8 MB there");
    assert_eq!(with("hy-image-v3.0", png(b"abc", 49)), ["references"], "a side too short");
    assert_eq!(with("hunyuan-image", Input { mime: "image/webp".into(), ..png(b"abc", 64) }), ["references"]);
    assert_eq!(refused("hy-image-v3.0", |r| r.references = vec![png(b"abc", 64); 4]), ["references"]);
    assert_eq!(refused("hunyuan-lite", |r| r.prompt = "狐".repeat(257)), ["prompt"]);
    assert_eq!(refused("hunyuan-lite", |r| r.prompt = "狐".repeat(256)), [""; 0], "characters, not bytes");
    let long = |r: &mut ImageRequest| (r.prompt, r.style) = ("x".repeat(8_190), Some("riman".into()));
    assert_eq!(refused("hunyuan-image-3.0", long), ["prompt"], "the style counts");
}

#[test]
fn old_sizes_are_still_made_and_illegal_ones_named() {
    for size in
        ["768:768", "768:1024", "1024:768", "1024:1024", "720:1280", "1280:720", "512:1024", "1024:512"]
    {
        assert_eq!(
            fitted("hunyuan-image-3.0", |r| r.size = size.parse().unwrap()).size,
            size.parse().unwrap()
        );
    }
    for (model, size) in [
        ("hunyuan-image-3.0", "100x100"),
        ("hy-image-v3", "1025x1024"),
        ("hunyuan-image", "512x1024"),
        ("hunyuan-lite", "1536x1024"),
        ("hy-image-v3.5-preview", "8192x8192"),
    ] {
        assert_eq!(refused(model, |r| r.size = size.parse().unwrap()), ["size"], "{model} {size}");
    }
}
