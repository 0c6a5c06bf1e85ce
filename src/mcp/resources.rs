//! Resources: what there is to choose from (`providers://list`, `styles://…`, `resolutions://…`, `models://list`), and a
//! caller's own images and jobs (`image://{id}`, `job://{id}`). The page of MCP Apps is one too.
//!
//! The first three lists and the two templates per provider are those of the second predecessor, with their shapes.

use super::{
    Inner, apps,
    call::{Call, Profile},
    errors::Fault,
    tools,
};
use crate::{
    auth::Scope,
    images::ImageError,
    jobs::{ProviderView, image_id},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

const JSON: &str = "application/json";

/// One entry of `resources/list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    uri: &'static str,
    name: &'static str,
    description: &'static str,
    mime_type: &'static str,
}

/// One entry of `resources/templates/list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Template {
    uri_template: &'static str,
    name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'static str>,
}

/// Listed only for clients that render it.
static GALLERY: Resource = Resource {
    uri: apps::URI,
    name: "Gallery",
    description: "A page that shows the images of a tool's result",
    mime_type: apps::MIME,
};

const fn list(uri: &'static str, name: &'static str, description: &'static str) -> Resource {
    Resource { uri, name, description, mime_type: JSON }
}

static LISTED: [Resource; 4] = [
    list("providers://list", "Available Providers", "The providers that are on, the default first"),
    list("styles://list", "All Styles", "Style ids of every provider, with what they mean"),
    list("resolutions://list", "All Resolutions", "Sizes of every provider, with their shape"),
    list("models://list", "All Models", "The models you may use: sizes, styles, limits and prices"),
];

const fn template(uri_template: &'static str, name: &'static str, description: &'static str) -> Template {
    Template { uri_template, name, description, mime_type: Some(JSON) }
}

static TEMPLATES: [Template; 4] = [
    template("styles://provider/{name}", "Styles of a Provider", "Its style ids, with what they mean"),
    template("resolutions://provider/{name}", "Resolutions of a Provider", "Its sizes, with their shape"),
    Template {
        uri_template: "image://{id}",
        name: "Image",
        description: "A finished image of yours, by its id: the bytes themselves",
        mime_type: None,
    },
    template("job://{id}", "Job", "A job of yours, by its id, as get_job_status shows it"),
];

#[derive(Serialize)]
pub struct Resources {
    resources: Vec<&'static Resource>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Templates {
    resource_templates: &'static [Template],
}

pub fn all(call: &Call) -> Resources {
    let gallery = call.peer.apps.then_some(&GALLERY);
    Resources { resources: LISTED.iter().chain(gallery).collect() }
}

pub fn templates() -> Templates {
    Templates { resource_templates: &TEMPLATES }
}

/// The result of `resources/read`.
#[derive(Debug, Serialize)]
pub struct Contents {
    contents: [Content; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    uri: String,
    mime_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<apps::PageMeta>,
}

impl Content {
    fn new(uri: &str, mime_type: &str) -> Content {
        Content { uri: uri.into(), mime_type: mime_type.into(), text: None, blob: None, meta: None }
    }
}

impl Contents {
    fn text<T: Serialize>(uri: &str, value: &T) -> Result<Contents, Fault> {
        let text = serde_json::to_string_pretty(value).map_err(|_| Fault::internal())?;
        Ok(Contents::of(Content { text: Some(text), ..Content::new(uri, JSON) }))
    }

    fn of(content: Content) -> Contents {
        Contents { contents: [content] }
    }
}

/// # Errors
/// `uri` is missing, or the caller may not read images.
pub fn admit(call: &Call, params: &Map<String, Value>) -> Result<(), Fault> {
    if uri(params).is_none() {
        return Err(Fault::invalid_params("missing uri"));
    }
    match call.principal.may(Scope::ImagesRead) {
        true => Ok(()),
        false => Err(Fault::insufficient_scope(Scope::ImagesRead)),
    }
}

/// Whether a URI is one of the lists, which change when the configuration does.
pub fn is_list(uri: &str) -> bool {
    LISTED.iter().any(|resource| resource.uri == uri)
        || ["styles://provider/", "resolutions://provider/"].iter().any(|folder| uri.starts_with(folder))
}

fn uri(params: &Map<String, Value>) -> Option<&str> {
    params.get("uri").and_then(Value::as_str)
}

/// Reads one resource. Somebody else's is answered as one that does not exist.
///
/// # Errors
/// There is no such resource, or the database is away.
pub async fn read(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Contents, Fault> {
    let uri = uri(params).unwrap_or_default();
    let missing = || Fault::no_resource(uri, call.peer.is_modern());
    let (scheme, rest) = uri.split_once("://").ok_or_else(missing)?;
    match (scheme, rest.trim_end_matches('/')) {
        ("providers", "list") => {
            let ids: Vec<String> = providers(inner, call).into_iter().map(|p| p.id).collect();
            Contents::text(uri, &ids)
        }
        ("models", "list") => Contents::text(uri, &tools::models_resource(inner, call)?),
        ("styles" | "resolutions", "list") => {
            let all = providers(inner, call).into_iter().map(|p| (p.id.clone(), labels(scheme, p)));
            Contents::text(uri, &all.collect::<IndexMap<_, _>>())
        }
        ("styles" | "resolutions", rest) => {
            // Without a name it is the default one's.
            let name = rest.strip_prefix("provider").ok_or_else(missing)?.trim_start_matches('/');
            let fits = |p: &ProviderView| name.is_empty() || p.id == name || p.kind == name;
            let found = providers(inner, call).into_iter().find(fits);
            Contents::text(uri, &labels(scheme, found.ok_or_else(missing)?))
        }
        ("job", id) => {
            let job: Option<Box<RawValue>> = tools::job_resource(inner, call, id).await?;
            Contents::text(uri, &job.ok_or_else(missing)?)
        }
        // Read it may whoever knows of it: a host need not fetch it with the client's own connection.
        ("ui", _) if uri == apps::URI => Ok(Contents::of(Content {
            text: Some(apps::PAGE.into()),
            meta: Some(apps::PageMeta::new(inner.backend.image_origins())),
            ..Content::new(uri, apps::MIME)
        })),
        ("image", _) => image(inner, call, uri).await?.ok_or_else(missing),
        _ => Err(missing()),
    }
}

pub fn providers(inner: &Inner, call: &Call) -> Vec<ProviderView> {
    let providers = inner.backend.providers(&call.owner());
    match call.profile {
        Profile::Job => providers,
        Profile::Blocking => tools::known_words(providers),
    }
}

fn labels(scheme: &str, provider: ProviderView) -> IndexMap<String, String> {
    if scheme == "styles" { provider.styles } else { provider.resolutions }.into_iter().collect()
}

/// The bytes of an image, up to `mcp.full_max`; above it a preview.
async fn image(inner: &Inner, call: &Call, uri: &str) -> Result<Option<Contents>, Fault> {
    let Some(id) = image_id(uri) else { return Ok(None) };
    let Some((image, _)) = inner.backend.image(call.team(), id).await? else { return Ok(None) };
    if let Some(at_us) = image.deleted_us {
        return Err(Fault::deleted_resource(uri, at_us, call.peer.is_modern()));
    }
    let settings = inner.settings.load();
    let cap = settings.full_max.0;
    let unreadable = |error: ImageError| {
        tracing::error!(image.id = %image.id, %error, "an image could not be read");
        Fault::internal()
    };
    let (mime, bytes) = if u64::try_from(image.bytes).is_ok_and(|bytes| bytes <= cap) {
        (image.mime.clone(), inner.backend.full(&image).await.map_err(unreadable)?)
    } else {
        let edge = settings.result.preview_edge;
        match inner.backend.preview(&image, edge, cap).await.map_err(unreadable)? {
            Some((mime, bytes)) => (mime.as_str().to_owned(), bytes),
            None => return Ok(None),
        }
    };
    let blob = tokio::task::spawn_blocking(move || STANDARD.encode(bytes)).await;
    let blob = blob.map_err(|_| Fault::internal())?;
    Ok(Some(Contents::of(Content { blob: Some(blob), ..Content::new(uri, &mime) })))
}
