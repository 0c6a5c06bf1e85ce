//! The schemas of the tools. Inputs are flat and name only what some model of the caller honours, so that the list
//! stays small; more is accepted than is advertised. Outputs fit every shape a tool answers in, failures too.

use super::catalogue::Tool;
use crate::jobs::ModelView;
use indexmap::IndexMap;
use plugin_api::{Background, Moderation, OutputFormat, Quality};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

#[derive(Serialize)]
pub struct InputSchema {
    #[serde(rename = "type")]
    kind: &'static str,
    properties: IndexMap<&'static str, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required: Vec<&'static str>,
}

/// What one caller can choose from.
pub struct Offer {
    models: Vec<String>,
    default: Option<String>,
    providers: Vec<String>,
    honoured: BTreeSet<&'static str>,
    references: u32,
    ceiling: Duration,
}

impl Offer {
    pub fn new(models: Vec<ModelView>, ceiling: Duration) -> Offer {
        let on = || models.iter().filter(|model| model.on);
        let mut providers: Vec<String> = Vec::new();
        for provider in on().flat_map(|model| &model.providers) {
            if !providers.contains(provider) {
                providers.push(provider.clone());
            }
        }
        let mut honoured: BTreeSet<&'static str> =
            on().flat_map(|model| model.honours.iter().copied()).collect();
        honoured.extend(on().any(|model| !model.styles.is_empty()).then_some("style"));
        honoured.extend(on().any(|model| model.transparent).then_some("background"));
        Offer {
            default: on().find(|model| model.default).map(|model| model.name.clone()),
            references: on().map(|model| model.references).max().unwrap_or(0),
            models: on().map(|model| model.name.clone()).collect(),
            providers,
            honoured,
            ceiling,
        }
    }
}

impl Offer {
    pub fn takes_references(&self) -> bool {
        self.references > 0
    }
}

/// Properties as they are put together.
struct Properties<'a> {
    offer: &'a Offer,
    map: IndexMap<&'static str, Value>,
}

impl Properties<'_> {
    fn add(&mut self, name: &'static str, schema: Value) {
        self.map.insert(name, schema);
    }
    /// Only where a model honours it.
    fn option(&mut self, name: &'static str, schema: Value) {
        if self.offer.honoured.contains(name) {
            self.add(name, schema);
        }
    }

    fn prompt(&mut self) {
        self.add("prompt", json!({"type": "string", "description": "What to draw, 1 to 32000 characters"}));
    }

    /// What decides who draws it, how large and how well: also what decides the price.
    fn choice(&mut self) {
        let offer = self.offer;
        let mut model = json!({"type": "string"});
        if !offer.models.is_empty() {
            model["enum"] = json!(offer.models);
        }
        if let Some(default) = &offer.default {
            model["default"] = json!(default);
        }
        self.add("model", model);
        if offer.providers.len() > 1 {
            self.add("provider", json!({"type": "string", "enum": offer.providers}));
        }
        self.add("count", json!({"type": "integer", "minimum": 1, "maximum": 20, "default": 1}));
        self.add("size", json!({"type": "string", "description": "auto, WxH, W:H or 1K to 4K"}));
        self.option("quality", json!({"type": "string", "enum": Quality::ALL}));
    }

    fn look(&mut self) {
        self.option(
            "style",
            json!({"type": "string", "description": "A style of the model, see list_models"}),
        );
        self.option("negative_prompt", json!({"type": "string", "description": "What to avoid"}));
        self.option("seed", json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}));
        self.option("steps", json!({"type": "integer", "minimum": 1}));
        self.option("guidance", json!({"type": "number"}));
        self.option("background", json!({"type": "string", "enum": Background::ALL}));
        self.option("output_format", json!({"type": "string", "enum": OutputFormat::ALL}));
        self.option(
            "output_compression",
            json!({"type": "integer", "minimum": 0, "maximum": 100, "description": "jpeg and webp only"}),
        );
        if self.offer.references > 0 {
            self.references();
        }
        self.option(
            "mask",
            json!({"type": "string", "description": "PNG whose transparent area is redrawn"}),
        );
        self.option("moderation", json!({"type": "string", "enum": Moderation::ALL}));
        self.option("watermark", json!({"type": "boolean"}));
        self.option("prompt_rewrite", json!({"type": "boolean"}));
        self.option("user", json!({"type": "string", "description": "Your end user; sent hashed"}));
        self.option("vendor", json!({"type": "object", "description": "Options by the vendor's own names"}));
        self.add("file_prefix", json!({"type": "string", "description": "Start of the file name"}));
        let description = "The same key again gets the same jobs";
        self.add("idempotency_key", json!({"type": "string", "maxLength": 255, "description": description}));
    }

    fn references(&mut self) {
        let description = "Image ids, upload:// handles or https URLs";
        let most = self.offer.references;
        self.add(
            "references",
            json!({"type": "array", "items": {"type": "string"}, "maxItems": most, "description": description}),
        );
    }

    fn waiting(&mut self) {
        self.handover();
        let ceiling = self.offer.ceiling.as_secs();
        self.add("max_wait_seconds", json!({"type": "number", "minimum": 0, "maximum": ceiling}));
    }

    fn handover(&mut self) {
        let description = "How the image comes: only its link, a small copy, or whole";
        let words = ["link", "preview", "full"];
        self.add("return", json!({"type": "string", "enum": words, "description": description}));
    }

    fn page(&mut self) {
        self.add("limit", json!({"type": "integer", "minimum": 1, "maximum": 50, "default": 10}));
        self.add("offset", json!({"type": "integer", "minimum": 0, "default": 0}));
        let description = "next_cursor of the last page";
        self.add("cursor", json!({"type": "string", "description": description}));
    }
}

pub fn input(tool: Tool, offer: &Offer) -> InputSchema {
    let mut p = Properties { offer, map: IndexMap::new() };
    let id = || json!({"type": "string"});
    let required: &[&'static str] = match tool {
        Tool::ListModels => {
            p.add("provider", json!({"type": "string", "description": "Only models of this provider"}));
            let description = "Also why each target is on or off";
            p.add("explain", json!({"type": "boolean", "default": false, "description": description}));
            &[]
        }
        Tool::EstimatePrice => {
            p.prompt();
            p.choice();
            &[]
        }
        Tool::GenerateImage => {
            p.prompt();
            p.choice();
            p.look();
            &["prompt"]
        }
        Tool::EditImage => {
            p.prompt();
            p.references();
            p.choice();
            p.option(
                "mask",
                json!({"type": "string", "description": "PNG whose transparent area is redrawn"}),
            );
            &["prompt", "references"]
        }
        Tool::CreateUpload => {
            let words = ["image/png", "image/jpeg", "image/webp"];
            p.add("mime_type", json!({"type": "string", "enum": words}));
            p.add("size_bytes", json!({"type": "integer", "minimum": 1}));
            &[]
        }
        Tool::GenerateImageAndWait => {
            p.prompt();
            p.choice();
            p.look();
            p.waiting();
            &["prompt"]
        }
        Tool::GetJobStatus | Tool::CancelJob => {
            p.add("job_id", id());
            &["job_id"]
        }
        Tool::WaitForCompletion => {
            p.add("job_id", json!({"type": "string", "description": "One job"}));
            let items = json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 20, "description": "Several jobs"});
            p.add("job_ids", items);
            p.waiting();
            &[]
        }
        Tool::ListGenerations => {
            p.add(
                "text",
                json!({"type": "string", "description": "Words in the prompt, as they stand there"}),
            );
            p.add("model", json!({"type": "string"}));
            p.add("since", json!({"type": "string", "description": "A day, a time, or how long ago: 7d"}));
            p.add("until", json!({"type": "string"}));
            p.add("deleted", json!({"type": "boolean", "description": "Also deleted ones"}));
            p.page();
            &[]
        }
        Tool::ListJobs => {
            p.add("status", json!({"type": "string", "enum": super::jobs::FILTERS, "default": "all"}));
            p.page();
            &[]
        }
        Tool::GetImageData => {
            p.add("image_id", id());
            p.handover();
            &["image_id"]
        }
        Tool::DeleteImage => {
            p.add("image_id", id());
            &["image_id"]
        }
        Tool::GetQuota => &[],
        Tool::GetUsage => {
            p.add("by", json!({"type": "string", "enum": super::usage::GROUPS, "default": "model"}));
            p.add("since", json!({"type": "string"}));
            p.add("until", json!({"type": "string"}));
            &[]
        }
        Tool::ReloadConfig => &[],
    };
    InputSchema { kind: "object", properties: p.map, required: required.to_vec() }
}

/// The types of the keys a tool may answer with. Only `success` is in every answer. Some tools say no more than that it is
/// an object, so that the list stays small.
pub fn output(tool: Tool) -> Value {
    let mut keys: Vec<(&str, &str)> = vec![("success", "boolean"), ("error", "string?"), ("code", "string?")];
    let refusal = [
        ("field", "string"),
        ("provider", "string"),
        ("retry_after_ms", "integer"),
        ("adjustments", "array"),
    ];
    keys.extend(refusal);
    let job = [
        ("job_id", "string"),
        ("status", "string"),
        ("prompt", "string"),
        ("model", "string"),
        ("message", "string"),
    ];
    let wait = [
        ("image_url", "string?"),
        ("images", "array"),
        ("cost", "object?"),
        ("count", "integer"),
        ("results", "array"),
        ("pending", "array"),
        ("failed", "array"),
        ("completed", "array"),
        ("deleted", "array"),
    ];
    let status = [
        ("created_at", "integer"),
        ("updated_at", "integer"),
        ("progress", "number?"),
        ("queue_position", "integer?"),
        ("attempts", "array"),
    ];
    let page = [
        ("total_count", "integer"),
        ("total_is_minimum", "boolean"),
        ("returned_count", "integer"),
        ("has_more", "boolean"),
        ("next_cursor", "string"),
        ("limit", "integer"),
        ("offset", "integer"),
    ];
    match tool {
        Tool::GenerateImage => {
            keys.extend(job);
            keys.extend([
                ("job_ids", "array"),
                ("count", "integer"),
                ("batch_id", "string"),
                ("estimated_time_seconds", "number"),
                ("estimated_cost", "object"),
            ]);
        }
        Tool::GenerateImageAndWait | Tool::WaitForCompletion => {
            keys.extend(job);
            keys.extend(wait);
            keys.extend(status);
        }
        Tool::GetJobStatus => {
            keys.extend(job);
            keys.extend([wait[0], wait[1], wait[2], ("deleted", "array")]);
            keys.extend(status);
        }
        Tool::ListGenerations => {
            keys.extend(page);
            keys.push(("generations", "array"));
        }
        Tool::GetQuota => keys.extend([("limits", "array"), ("message", "string")]),
        Tool::ListModels
        | Tool::EstimatePrice
        | Tool::ListJobs
        | Tool::GetUsage
        | Tool::GetImageData
        | Tool::CancelJob
        | Tool::DeleteImage
        | Tool::EditImage
        | Tool::CreateUpload => return json!({"type": "object"}),
        Tool::ReloadConfig => {
            keys[1] = ("error", "object?");
            keys.extend([("version", "string"), ("ok", "boolean"), ("result", "object?")]);
        }
    }
    object(&keys, &["success"])
}

/// Of the tools that answer as the second predecessor's did.
pub fn blocking() -> Value {
    let keys = [
        ("version", "string"),
        ("ok", "boolean"),
        ("images", "array"),
        ("error", "object?"),
        ("job", "object"),
        ("jobs", "array"),
        ("message", "string"),
        ("adjustments", "array"),
    ];
    object(&keys, &["version", "ok", "images", "error"])
}

fn object(keys: &[(&str, &str)], required: &[&str]) -> Value {
    let typed = |kind: &str| match kind.strip_suffix('?') {
        Some(kind) => json!({"type": [kind, "null"]}),
        None => json!({"type": kind}),
    };
    let properties: IndexMap<&str, Value> = keys.iter().map(|(key, kind)| (*key, typed(kind))).collect();
    json!({"type": "object", "properties": properties, "required": required})
}
