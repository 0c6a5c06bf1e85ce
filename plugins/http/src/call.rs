//! The requests: addresses, headers and bodies with their values filled in.

use crate::{Declared, settings::Method};
use plugin_api::{Context, ErrorClass, ImageRequest, Input, Mime, Part, ProviderError, Request};
use plugin_declared::{
    answer_cap,
    template::{Scope, Template, fill, plain},
};
use serde_json::{Value, json};

impl Declared {
    fn scope<'a>(&'a self, request: &'a ImageRequest, ticket: Option<&'a str>) -> Scope<'a> {
        Scope { request, attempt: None, ticket, api_key: self.settings.api_key.expose() }
    }

    fn headers<'a>(
        &self,
        mut call: Request,
        headers: impl IntoIterator<Item = (&'a String, &'a String)>,
        scope: &Scope<'_>,
    ) -> Request {
        for (name, text) in headers {
            // An absent value leaves its header out. Any of them may be a credential.
            if let Some(text) = Template::parse(text).text(&|name| scope.value(name)) {
                call = call.secret_header(name, &text);
            }
        }
        call
    }

    /// The paid call.
    ///
    /// # Errors
    /// A value that an address or a form cannot carry.
    pub fn submission(&self, cx: &Context, request: &ImageRequest) -> Result<Request, ProviderError> {
        let submit = &self.settings.submit;
        let scope = Scope { attempt: Some(cx.attempt), ..self.scope(request, None) };
        let value = |name: &str| scope.value(name);
        let url = self.addresses.fill(&submit.url, &value)?;
        let call = match submit.method {
            Method::Get => Request::get(url),
            Method::Post => Request::post(url),
        };
        let mut call = call.paid().cap(answer_cap(request));
        call = match (&submit.body, &submit.form) {
            (Some(body), _) => call.json(&fill(body, &value).unwrap_or_else(|| json!({}))),
            (_, Some(form)) => call.multipart(parts(form, &scope)?),
            _ => call,
        };
        call = self.headers(call, &self.settings.headers, &scope);
        call = self.headers(call, &submit.headers, &scope);
        Ok(match &submit.idempotency_header {
            Some(name) => call.secret_header(name, &cx.attempt.to_string()),
            None => call,
        })
    }

    /// A question about a ticket, or for its result.
    ///
    /// # Errors
    /// The ticket leads to a host that the settings do not name.
    pub fn question(
        &self,
        request: &ImageRequest,
        ticket: &str,
        (url, method, body): (&str, Method, Option<&Value>),
    ) -> Result<Request, ProviderError> {
        let scope = self.scope(request, Some(ticket));
        let value = |name: &str| scope.value(name);
        let url = self.addresses.fill(url, &value)?;
        let mut call = if method == Method::Get { Request::get(url) } else { Request::post(url) };
        if let Some(body) = body {
            call = call.json(&fill(body, &value).unwrap_or_else(|| json!({})));
        }
        Ok(self.headers(call.cap(answer_cap(request)), &self.settings.headers, &scope))
    }

    /// The free call.
    ///
    /// # Errors
    /// Never in practice: the address was checked.
    pub fn trial(&self, url: &str) -> Result<Request, ProviderError> {
        let nothing = ImageRequest::default();
        let scope = self.scope(&nothing, None);
        let call = Request::get(self.addresses.fill(url, &|name| scope.value(name))?);
        Ok(self.headers(call, &self.settings.headers, &scope))
    }
}

/// A form: a lone `{reference}`, `{references}` or `{mask}` is a file, a list is the field several times.
fn parts(
    form: &std::collections::BTreeMap<String, Value>,
    scope: &Scope<'_>,
) -> Result<Vec<Part>, ProviderError> {
    let mut parts = Vec::new();
    for (name, tree) in form {
        let files: Option<Vec<&Input>> = match tree.as_str() {
            Some("{reference}") => Some(scope.request.references.iter().take(1).collect()),
            Some("{references}") => Some(scope.request.references.iter().collect()),
            Some("{mask}") => Some(scope.request.mask.iter().collect()),
            _ => None,
        };
        if let Some(files) = files {
            parts.extend(files.into_iter().enumerate().map(|(n, input)| file(name, n, input)));
            continue;
        }
        match fill(tree, &|name| scope.value(name)) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => parts.extend(items.iter().map(|item| Part::text(name, plain(item)))),
            Some(Value::Object(_)) => {
                let what = format!("the field `{name}` of the form is a map, which a form cannot carry");
                return Err(ProviderError::new(ErrorClass::InvalidRequest, what));
            }
            Some(value) => parts.push(Part::text(name, plain(&value))),
        }
    }
    Ok(parts)
}

fn file(name: &str, n: usize, input: &Input) -> Part {
    let ending = Mime::parse(&input.mime).map_or("bin", Mime::extension);
    Part::file(name, &format!("{n}.{ending}"), &input.mime, input.bytes.clone())
}
