//! All vendors of the shipped configuration at one address, as strict as their contracts: a member that the vendor does
//! not know, a value out of its range, a missing header, and the request is refused and noted.

use crate::{hunyuan::verify, support::vendor};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use testkit::{Behaviour, FakeUpstream, Recorded, Reply};

/// What a member may be.
enum Rule {
    /// A text of so many characters.
    Text(usize, usize),
    Int(i64, i64),
    Number(f64, f64),
    OneOf(&'static [&'static str]),
    Bool,
    /// Width and height with this between them.
    Sides(char, fn(u64, u64) -> bool),
    /// `auto`, or such sides.
    AutoOr(fn(u64, u64) -> bool),
    /// So many items.
    Items(usize, usize),
    Is(Value),
    /// A file of a form.
    File,
    Object(Vec<(&'static str, Rule)>),
}
use Rule::{AutoOr, Bool, File, Int, Is, Items, Number, Object, OneOf, Sides, Text};

impl Rule {
    fn holds(&self, value: &Value) -> bool {
        let sides = |mark: char, fit: fn(u64, u64) -> bool| {
            let (width, height) = value.as_str()?.split_once(mark)?;
            Some(fit(width.parse().ok()?, height.parse().ok()?))
        };
        match self {
            Text(least, most) => {
                value.as_str().is_some_and(|text| (*least..=*most).contains(&text.chars().count()))
            }
            Int(least, most) => value.as_i64().is_some_and(|n| (*least..=*most).contains(&n)),
            Number(least, most) => value.as_f64().is_some_and(|n| (*least..=*most).contains(&n)),
            OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Bool => value.is_boolean(),
            Sides(mark, fit) => sides(*mark, *fit) == Some(true),
            AutoOr(fit) => value == "auto" || sides('x', *fit) == Some(true),
            Items(least, most) => value.as_array().is_some_and(|all| (*least..=*most).contains(&all.len())),
            Is(wanted) => value == wanted,
            File => value.get("file").is_some(),
            Object(members) => obeys(value, &[], members).is_ok(),
        }
    }
}

/// Whether all members are known and in range, and the required ones are there.
fn obeys(body: &Value, required: &[&str], members: &[(&'static str, Rule)]) -> Result<(), String> {
    let body = body.as_object().ok_or("no object")?;
    for (name, value) in body {
        let (_, rule) =
            members.iter().find(|(known, _)| known == name).ok_or(format!("unknown member {name}"))?;
        if !rule.holds(value) {
            return Err(format!("{name} is {}", value.to_string().chars().take(80).collect::<String>()));
        }
    }
    match required.iter().find(|name| !body.contains_key(**name)) {
        Some(missing) => Err(format!("no member {missing}")),
        None => Ok(()),
    }
}

/// A form as an object: numbers and booleans where the text is one, `{"file": type}` for a file; the references of
/// one name as `image`.
fn form(request: &Recorded) -> Value {
    let mut all = Map::new();
    for part in request.parts() {
        let value = match (&part.content_type, std::str::from_utf8(&part.bytes)) {
            (Some(kind), _) if part.file_name.is_some() => json!({ "file": kind }),
            (_, Ok(text)) if part.name != "prompt" => {
                serde_json::from_str(text).unwrap_or_else(|_| text.into())
            }
            (_, text) => text.unwrap_or_default().into(),
        };
        all.insert(part.name, value);
    }
    Value::Object(all)
}

/// What was served, as `vendor/model`, and what was refused and why.
#[derive(Default)]
pub struct Seen {
    pub served: Vec<String>,
    pub wrong: Vec<String>,
}

pub struct Strict {
    pub upstream: FakeUpstream,
    seen: Arc<Mutex<Seen>>,
}

impl Strict {
    pub async fn start() -> Strict {
        let upstream = FakeUpstream::start().await;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (url, notes) = (upstream.url(), seen.clone());
        upstream.handle(move |request| {
            let told = judge(request, &url);
            let mut notes = notes.lock().unwrap();
            match told {
                Ok((Some(model), answer)) => {
                    notes.served.push(model);
                    answer
                }
                Ok((None, answer)) => answer,
                Err(why) => {
                    let model = request.json()["model"].clone();
                    notes.wrong.push(format!("{} {} {model}: {why}", request.method, request.path));
                    Behaviour::json(400, json!({"error": {"message": why, "code": "strict"}}).to_string())
                }
            }
        });
        Strict { upstream, seen }
    }

    pub fn seen(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

type Judged = Result<(Option<String>, Behaviour), String>;

fn judge(request: &Recorded, url: &str) -> Judged {
    let path = request.path.split('?').next().unwrap_or_default();
    let rest = |prefix: &str| path.strip_prefix(prefix);
    if path == "/result.png" {
        return Ok((None, vendor::raw_picture()));
    }
    if let Some(call) = rest("/openai/v1/") {
        return openai(request, call);
    }
    if let Some(model) = rest("/client/v4/accounts/acc1/ai/run/") {
        return workers_ai(request, model);
    }
    if path == "/api/v3/images/generations" {
        return ark(request);
    }
    if let Some(call) = rest("/dashscope/") {
        return dashscope(request, call, url);
    }
    if let Some(model) = rest("/gemini/models/").and_then(|m| m.strip_suffix(":generateContent")) {
        return gemini(request, model);
    }
    if let Some(call) = rest("/hub/") {
        return tokenhub(request, call, url);
    }
    match path {
        "/" => tc3(request, url),
        _ => Err("no such call".into()),
    }
}

fn bearer(request: &Recorded, key: &str) -> Result<(), String> {
    match request.header("authorization") == Some(&format!("Bearer {key}")) {
        true => Ok(()),
        false => Err("no key".into()),
    }
}

fn ok(body: Value) -> Behaviour {
    Behaviour::json(200, body.to_string())
}

fn picture() -> String {
    STANDARD.encode(vendor::png())
}

fn model_of(body: &Value) -> Result<String, String> {
    body["model"].as_str().map(str::to_owned).ok_or("no model".into())
}

/// Section "Request parameters" of <https://platform.openai.com/docs/api-reference/images>.
fn openai(request: &Recorded, call: &str) -> Judged {
    bearer(request, "sk-strict")?;
    let edit = call == "images/edits";
    if !edit && call != "images/generations" {
        return Err("no such call".into());
    }
    let body = if edit { form(request) } else { request.json() };
    let model = model_of(&body)?;
    let newest = model.starts_with("gpt-image-2.5") || model.starts_with("gpt-image-2.6");
    let free = newest || model.starts_with("gpt-image-2");
    let qualities: &[&str] = match newest {
        true => &["auto", "low", "medium", "high", "xhigh", "max"],
        false => &["auto", "low", "medium", "high"],
    };
    let size = match free {
        true => AutoOr(|w, h| {
            w % 16 == 0
                && h % 16 == 0
                && w.max(h) <= 3840
                && w.max(h) <= 3 * w.min(h)
                && (655_360..=8_294_400).contains(&(w * h))
        }),
        false => AutoOr(|w, h| [(1024, 1024), (1536, 1024), (1024, 1536)].contains(&(w, h))),
    };
    let mut members = vec![
        ("model", Text(1, 100)),
        ("prompt", Text(1, 32_000)),
        ("n", Int(1, 10)),
        ("size", size),
        ("quality", OneOf(qualities)),
        ("background", OneOf(&["auto", "opaque", "transparent"])),
        ("output_format", OneOf(&["png", "jpeg", "webp"])),
        ("output_compression", Int(0, 100)),
        ("moderation", OneOf(&["auto", "low"])),
        ("safety_identifier", Text(1, 64)),
        ("stream", Bool),
        ("partial_images", Int(0, 3)),
    ];
    if newest {
        members.push(("complexity", OneOf(&["low", "medium", "high"])));
    }
    if edit {
        members.extend([("image[]", File), ("image", File), ("mask", File)]);
        if !free {
            members.push(("input_fidelity", OneOf(&["low", "high"])));
        }
    }
    obeys(&body, &["model", "prompt"], &members)?;
    let png = body["output_format"] == "png" || body["output_format"].is_null();
    if png && !body["output_compression"].is_null() {
        return Err("output_compression with png".into());
    }
    if body["background"] == "transparent" && body["output_format"] == "jpeg" {
        return Err("transparent jpeg".into());
    }
    let data: Vec<Value> =
        (0..body["n"].as_u64().unwrap_or(1)).map(|_| json!({"b64_json": picture()})).collect();
    let usage = json!({"input_tokens": 20, "output_tokens": 1400, "total_tokens": 1420});
    Ok((Some(format!("openai/{model}")), ok(json!({"created": 1_795_000_000, "data": data, "usage": usage}))))
}

fn workers_ai(request: &Recorded, model: &str) -> Judged {
    bearer(request, "cf-strict")?;
    let served = Some(format!("workers-ai/{model}"));
    let sides = |least: i64, most: i64| [("width", Int(least, most)), ("height", Int(least, most))];
    let seed = || ("seed", Int(0, i64::from(u32::MAX)));
    let base64 =
        || ok(json!({"result": {"image": picture()}, "success": true, "errors": [], "messages": []}));
    if model.contains("/flux-2-") {
        let dev = model.ends_with("-dev");
        let mut members = vec![("prompt", Text(1, 100_000)), ("guidance", Number(0.0, 100.0)), seed()];
        members.extend(sides(256, 1920));
        members.extend(
            ["input_image_0", "input_image_1", "input_image_2", "input_image_3"].map(|name| (name, File)),
        );
        if dev {
            members.push(("steps", Int(1, 1000)));
        }
        if request.essence().as_deref() != Some("multipart/form-data") {
            return Err("FLUX.2 takes a form".into());
        }
        obeys(&form(request), &["prompt"], &members)?;
        return Ok((served, base64()));
    }
    let body = request.json();
    let (mut members, required, answer) = match model.rsplit('/').next().unwrap_or_default() {
        "flux-1-schnell" => {
            (vec![("prompt", Text(1, 2048)), ("steps", Int(1, 8))], &["prompt"][..], base64())
        }
        "phoenix-1.0" => {
            let own = vec![
                ("prompt", Text(1, 100_000)),
                ("guidance", Number(2.0, 10.0)),
                ("num_steps", Int(1, 50)),
                ("negative_prompt", Text(1, 100_000)),
                seed(),
            ];
            let jpeg: Behaviour = Reply::new(200, "image/jpeg", vendor::png()).into();
            (own.into_iter().chain(sides(0, 2048)).collect(), &["prompt"][..], jpeg)
        }
        "lucid-origin" => {
            let own = vec![
                ("prompt", Text(1, 100_000)),
                ("guidance", Number(0.0, 10.0)),
                ("num_steps", Int(1, 40)),
                ("steps", Int(1, 40)),
                seed(),
            ];
            (own.into_iter().chain(sides(0, 2500)).collect(), &["prompt"][..], base64())
        }
        name => {
            let own = vec![
                ("prompt", Text(1, 100_000)),
                ("negative_prompt", Text(0, 100_000)),
                ("num_steps", Int(1, 20)),
                ("strength", Number(0.0, 1.0)),
                ("guidance", Number(0.0, 100.0)),
                seed(),
            ];
            let required: &[&str] = match name {
                "stable-diffusion-v1-5-img2img" => &["prompt", "image_b64"],
                "stable-diffusion-v1-5-inpainting" => &["prompt", "image_b64", "mask"],
                "stable-diffusion-xl-lightning" | "stable-diffusion-xl-base-1.0" | "dreamshaper-8-lcm" => {
                    &["prompt"]
                }
                _ => return Err("no such model".into()),
            };
            (own.into_iter().chain(sides(256, 2048)).collect::<Vec<_>>(), required, vendor::raw_picture())
        }
    };
    if required.contains(&"image_b64") {
        members.push(("image_b64", Text(1, 100_000_000)));
    }
    if required.contains(&"mask") {
        members.push(("mask", Items(1, 100_000_000)));
    }
    obeys(&body, required, &members)?;
    Ok((served, answer))
}

/// Seedream: no `n`, no negative prompt, no quality, no style; the watermark is always said.
fn ark(request: &Recorded) -> Judged {
    bearer(request, "ark-strict")?;
    let body = request.json();
    let model = model_of(&body)?;
    let (third, fifth) = (model.contains("-3-0-"), model.contains("-5-0-"));
    let newest = model.contains("-5-0-pro") || model.contains("-5-0-flash");
    let mut members = vec![
        ("model", Text(1, 100)),
        ("prompt", Text(1, 100_000)),
        ("size", Text(2, 12)),
        ("response_format", OneOf(&["url", "b64_json"])),
        ("watermark", Bool),
        ("optimize_prompt", Bool),
    ];
    if !third || model.contains("seededit") {
        members.push(("image", if body["image"].is_array() { Items(2, 14) } else { Text(20, 20_000_000) }));
    }
    if third {
        members.extend([("seed", Int(-1, 2_147_483_647)), ("guidance_scale", Number(1.0, 10.0))]);
    } else {
        let options = vec![
            ("mode", OneOf(&["standard", "fast"])),
            ("thinking", OneOf(&["auto", "enabled", "disabled"])),
        ];
        members.push(("optimize_prompt_options", Object(options)));
    }
    if fifth {
        members.push(("output_format", OneOf(&["png", "jpeg"])));
    }
    if newest {
        members.extend([("background", OneOf(&["transparent", "opaque"])), ("layer_decomposition", Bool)]);
    } else if !third {
        members.extend([
            ("stream", Bool),
            ("sequential_image_generation", OneOf(&["auto", "disabled"])),
            ("sequential_image_generation_options", Object(vec![("max_images", Int(1, 15))])),
        ]);
    }
    obeys(&body, &["model", "prompt", "watermark"], &members)?;
    if let Some((width, height)) = body["size"].as_str().and_then(|size| size.split_once('x')) {
        let pixels = width.parse::<u64>().unwrap_or(0) * height.parse::<u64>().unwrap_or(0);
        let allowed = match () {
            () if third => 262_144..=4_194_304,
            () if newest => 921_600..=4_624_220,
            () if model.contains("-4-0-") => 921_600..=16_777_216,
            () => 3_686_400..=16_777_216,
        };
        if !allowed.contains(&pixels) {
            return Err(format!("{pixels} pixels"));
        }
    }
    let data = json!([{"b64_json": picture(), "size": "2048x2048"}]);
    let usage = json!({"generated_images": 1, "output_tokens": 16_384, "total_tokens": 16_384});
    Ok((
        Some(format!("doubao/{model}")),
        ok(json!({"model": model, "created": 1, "data": data, "usage": usage})),
    ))
}

fn dashscope(request: &Recorded, call: &str, url: &str) -> Judged {
    bearer(request, "ds-strict")?;
    let results = json!([{"url": format!("{url}/result.png")}]);
    if let Some(task) = call.strip_prefix("tasks/") {
        let done = json!({"task_id": task, "task_status": "SUCCEEDED", "results": results});
        return Ok((None, ok(json!({"request_id": "r", "output": done}))));
    }
    let body = request.json();
    let model = model_of(&body)?;
    let is_task = request.header("x-dashscope-async") == Some("enable");
    let messages = match call {
        "services/aigc/multimodal-generation/generation" if !is_task => true,
        "services/aigc/image-generation/generation" if is_task => true,
        "services/aigc/text2image/image-synthesis" if is_task => false,
        _ => return Err("no such call, or not as a task".into()),
    };
    let by_prompt = ["wan2.5", "wan2.2", "wanx"].iter().any(|head| model.starts_with(head))
        || ["qwen-image", "qwen-image-plus"].contains(&model.as_str());
    if messages == by_prompt {
        return Err("the model has another call".into());
    }
    let most = if model.starts_with("wan") { 4 } else { 6 };
    let mut parameters = vec![
        ("size", Sides('*', |w, h| w * h >= 262_144 && w.max(h) <= 8 * w.min(h))),
        ("n", Int(1, most)),
        ("seed", Int(0, 2_147_483_647)),
        ("prompt_extend", Bool),
        ("watermark", Bool),
    ];
    if messages {
        parameters.push(("negative_prompt", Text(0, 500)));
        let input = &body["input"];
        obeys(input, &["messages"], &[("messages", Items(1, 1))])?;
        let message = &input["messages"][0];
        obeys(message, &["role", "content"], &[("role", Is("user".into())), ("content", Items(1, 11))])?;
        for part in message["content"].as_array().into_iter().flatten() {
            obeys(part, &[], &[("text", Text(1, 10_000)), ("image", Text(20, 20_000_000))])?;
        }
    } else {
        let members = [("prompt", Text(1, 10_000)), ("negative_prompt", Text(0, 500))];
        obeys(&body["input"], &["prompt"], &members)?;
        if model == "wanx-v1" {
            parameters.push(("style", Text(1, 40)));
        }
    }
    let members =
        [("model", Text(1, 60)), ("input", Is(body["input"].clone())), ("parameters", Object(parameters))];
    obeys(&body, &["model", "input"], &members)?;
    let output = match is_task {
        true => json!({"task_id": "7b2f7a5e-0000-4000-8000-1d2c3b4a5f60", "task_status": "PENDING"}),
        false => {
            let content = json!([{"image": format!("{url}/result.png")}]);
            let message = json!({"role": "assistant", "content": content});
            json!({"choices": [{"finish_reason": "stop", "message": message}]})
        }
    };
    Ok((
        Some(format!("qwen/{model}")),
        ok(json!({"request_id": "r", "output": output, "usage": {"image_count": 1}})),
    ))
}

fn gemini(request: &Recorded, model: &str) -> Judged {
    if request.header("x-goog-api-key") != Some("AIza-strict") || request.path.contains("key=") {
        return Err("no key".into());
    }
    let body = request.json();
    obeys(
        &body,
        &["contents", "generationConfig"],
        &[("contents", Items(1, 1)), ("generationConfig", Is(body["generationConfig"].clone()))],
    )?;
    let content = &body["contents"][0];
    obeys(content, &["role", "parts"], &[("role", Is("user".into())), ("parts", Items(1, 15))])?;
    for part in content["parts"].as_array().into_iter().flatten() {
        let inline = vec![("mimeType", Text(5, 40)), ("data", Text(20, 20_000_000))];
        obeys(part, &[], &[("text", Text(1, 100_000)), ("inlineData", Object(inline))])?;
    }
    let ratios = ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"];
    let image = vec![
        ("aspectRatio", OneOf(Box::leak(Box::new(ratios)))),
        ("imageSize", OneOf(&["512", "1K", "2K", "4K"])),
    ];
    let members = [
        ("responseModalities", Is(json!(["TEXT", "IMAGE"]))),
        ("imageConfig", Object(image)),
        ("thinkingConfig", Object(vec![("thinkingLevel", OneOf(&["minimal", "medium", "high"]))])),
    ];
    obeys(&body["generationConfig"], &["responseModalities"], &members)?;
    let part = json!({"inlineData": {"mimeType": "image/png", "data": picture()}});
    let candidate =
        json!({"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0});
    let usage = json!({"promptTokenCount": 8, "candidatesTokenCount": 1120, "totalTokenCount": 1128});
    let answer = json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": model});
    Ok((Some(format!("gemini/{model}")), ok(answer)))
}

fn megapixel(width: u64, height: u64) -> bool {
    [width, height].iter().all(|side| (512..=2048).contains(side)) && width * height <= 1_048_576
}

fn tokenhub(request: &Recorded, call: &str, url: &str) -> Judged {
    bearer(request, "th-strict")?;
    let body = request.json();
    let link = json!({"url": format!("{url}/result.png")});
    if call == "v1/api/image/query" {
        obeys(&body, &["model", "id"], &[("model", Text(1, 40)), ("id", Text(1, 100))])?;
        return Ok((None, ok(json!({"status": "completed", "data": [link], "request_id": "r"}))));
    }
    let model = model_of(&body)?;
    let seed = |least: i64| ("seed", Int(least, i64::from(u32::MAX)));
    let name = || ("model", Text(1, 40));
    let (members, required, answer) = match (call, model.as_str()) {
        ("v1/api/image/submit", "hy-image-v3.0") => (
            vec![
                name(),
                ("prompt", Text(1, 8192)),
                ("images", Items(1, 3)),
                ("resolution", Sides(':', megapixel)),
                seed(1),
                ("revise", Int(0, 1)),
                ("logo_add", Int(0, 1)),
            ],
            &["model", "prompt", "logo_add"][..],
            json!({"id": "job-1", "object": "image.generation.job", "status": "queued"}),
        ),
        ("v1/api/image/lite", "hy-image-lite") => (
            vec![
                name(),
                ("prompt", Text(1, 1024)),
                ("negative_prompt", Text(0, 1024)),
                ("resolution", Sides(':', |_, _| true)),
                seed(1),
                ("logo_add", Int(0, 1)),
                ("rsp_img_type", OneOf(&["base64", "url"])),
            ],
            &["model", "prompt", "logo_add"][..],
            json!({"created": 1, "data": [{"b64_json": picture()}]}),
        ),
        ("v1/wand/hunyuan-image/v3-generation", "hy-image-v3") => (
            vec![
                name(),
                ("prompt", Text(1, 8192)),
                ("images", Items(1, 3)),
                ("size", Sides('x', megapixel)),
                seed(0),
                ("footnote", Text(1, 16)),
                ("revise", Bool),
            ],
            &["model", "prompt"][..],
            json!({"id": "1", "created": 1, "data": [link]}),
        ),
        ("v1/wand/hunyuan-image/v35-generation", "hy-image-v3.5-preview") => {
            let image = json!({"url": format!("{url}/result.png"), "width": 1536, "height": 1536});
            let delta = json!({"role": "assistant", "type": "image", "image": image});
            (
                vec![
                    name(),
                    ("messages", Items(1, 1)),
                    ("size", Sides('x', |w, h| w.min(h) >= 256 && w.max(h) <= 8192 && w * h <= 16_777_216)),
                    seed(0),
                    ("footnote", Text(1, 16)),
                    ("logo_add", Int(0, 1)),
                ],
                &["model", "messages", "logo_add"][..],
                json!({"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}],
                       "usage": {"total_tokens": 15_000}}),
            )
        }
        _ => return Err("no such call of this model".into()),
    };
    obeys(&body, required, &members)?;
    Ok((Some(format!("hunyuan/{model}")), ok(answer)))
}

fn tc3(request: &Recorded, url: &str) -> Judged {
    verify(request)?;
    let body = request.json();
    let link = format!("{url}/result.png");
    let answer = |response: Value| ok(json!({"Response": response}));
    let logo = || ("LogoAdd", Int(0, 1));
    let job = || json!({"JobId": "job-1", "RequestId": "r"});
    let action = request.header("x-tc-action").unwrap_or_default();
    if action.starts_with("Query") {
        obeys(&body, &["JobId"], &[("JobId", Is("job-1".into()))])?;
        let done = json!({"JobStatusCode": "5", "ResultImage": [link], "ResultDetails": ["Success"], "RequestId": "r"});
        return Ok((None, answer(done)));
    }
    let version = request.header("x-tc-version").unwrap_or_default();
    let (model, members, required, response) = match (action, version) {
        ("SubmitHunyuanImageJob", "2023-09-01") => (
            "hunyuan-image",
            vec![
                ("Prompt", Text(1, 1024)),
                ("NegativePrompt", Text(0, 1024)),
                ("Style", Text(3, 20)),
                (
                    "Resolution",
                    OneOf(&[
                        "768:768",
                        "768:1024",
                        "1024:768",
                        "1024:1024",
                        "720:1280",
                        "1280:720",
                        "768:1280",
                        "1280:768",
                    ]),
                ),
                ("Num", Int(1, 4)),
                ("Clarity", OneOf(&["x2", "x4"])),
                ("ContentImage", Object(vec![("ImageBase64", Text(4, 8_000_000))])),
                ("Seed", Int(1, i64::from(u32::MAX))),
                ("Revise", Int(0, 1)),
                logo(),
            ],
            &["Prompt", "LogoAdd"][..],
            job(),
        ),
        ("SubmitHunyuanImageChatJob", "2023-09-01") => (
            "hunyuan-image-chat",
            vec![("Prompt", Text(1, 1024)), ("ChatId", Text(1, 100)), logo()],
            &["Prompt", "LogoAdd"][..],
            job(),
        ),
        ("SubmitTextToImageJob", "2022-12-29") => (
            "hunyuan-image-3.0",
            vec![
                ("Prompt", Text(1, 8192)),
                ("Images", Items(1, 3)),
                ("Resolution", Sides(':', megapixel)),
                ("Seed", Int(1, i64::from(u32::MAX))),
                ("Revise", Int(0, 1)),
                logo(),
            ],
            &["Prompt", "LogoAdd"][..],
            job(),
        ),
        ("TextToImageLite", "2023-09-01") => (
            "hunyuan-lite",
            vec![
                ("Prompt", Text(1, 256)),
                ("NegativePrompt", Text(0, 256)),
                ("Style", Text(3, 3)),
                ("Resolution", Sides(':', |_, _| true)),
                logo(),
                ("RspImgType", OneOf(&["base64", "url"])),
            ],
            &["Prompt", "LogoAdd"][..],
            json!({"ResultImage": picture(), "RequestId": "r"}),
        ),
        ("TextToImageRapid", "2022-12-29") => (
            "hunyuan-rapid",
            vec![
                ("Prompt", Text(1, 256)),
                ("Image", Object(vec![("Base64", Text(4, 8_000_000))])),
                ("Style", Text(1, 2)),
                ("Resolution", Sides(':', |_, _| true)),
                ("Seed", Int(0, i64::from(u32::MAX))),
                logo(),
                ("RspImgType", OneOf(&["base64", "url"])),
            ],
            &["Prompt", "LogoAdd"][..],
            json!({"ResultImage": picture(), "Seed": 1, "RequestId": "r"}),
        ),
        _ => return Err(format!("no action {action} of {version}")),
    };
    obeys(&body, required, &members)?;
    Ok((Some(format!("hunyuan/{model}")), answer(response)))
}
