//! What can be wrong with a description: found when the configuration is read, each with its field.

use crate::{address::Addresses, settings::Settings};
use plugin_declared::{
    address::is_header_name,
    models::Used,
    pointer,
    template::{REQUEST, Template, texts},
};

/// Values that no call is without, so that an address's path may hold them.
const ALWAYS: [&str; 9] =
    ["model", "prompt", "n", "size", "width", "height", "aspect_ratio", "attempt", "ticket"];

/// # Errors
/// The first mistake, as `field: sentence`.
pub fn check(settings: &Settings) -> Result<(Addresses, Used), String> {
    let mut addresses = Addresses::new(&settings.base_url, &settings.api_hosts)?;
    let used = placeholders(settings)?;
    for (field, text) in urls(settings) {
        addresses.accept(text).map_err(|e| format!("{field}: {e}"))?;
        let path = Template::parse(text.split('?').next().unwrap_or_default());
        if let Some(name) = path.needed().find(|name| !ALWAYS.contains(name)) {
            return Err(format!(
                "{field}: {{{name}}} can be absent; give it a default, {{{name}|...}}, or put it after the `?`"
            ));
        }
    }
    pointers(settings)?;
    calls(settings)?;
    images(settings)?;
    headers(settings)?;
    Ok((addresses, used))
}

fn urls(settings: &Settings) -> Vec<(&'static str, &str)> {
    let poll = settings.poll.as_ref();
    let all = [
        ("submit.url", Some(settings.submit.url.as_str())),
        ("poll.url", poll.map(|poll| poll.url.as_str())),
        ("poll.result", poll.and_then(|poll| poll.result.as_deref())),
        ("check", settings.check.as_deref()),
    ];
    all.into_iter().filter_map(|(field, text)| Some((field, text?))).collect()
}

/// Every placeholder must be known where it stands.
fn placeholders(settings: &Settings) -> Result<Used, String> {
    let submit = &settings.submit;
    let mut used = Used::new();
    let mut paid = vec![("submit.url".to_owned(), submit.url.clone())];
    paid.extend(submit.headers.iter().map(|(name, text)| (format!("submit.headers.{name}"), text.clone())));
    if let Some(body) = &submit.body {
        texts(body, "submit.body", &mut paid);
    }
    for (name, value) in submit.form.iter().flatten() {
        texts(value, &format!("submit.form.{name}"), &mut paid);
    }
    for (field, text) in &paid {
        let key: &[&str] = if field == "submit.url" { &[] } else { &["api_key"] };
        for name in Template::parse(text).names() {
            let known = REQUEST.contains(&name) || key.contains(&name) || name.starts_with("vendor.");
            known.then_some(()).ok_or_else(|| unknown(field, name, &[&REQUEST[..], key].concat()))?;
            used.insert(name.to_owned());
        }
    }
    let mut others = Vec::new();
    others.extend(
        settings
            .headers
            .iter()
            .map(|(name, text)| (format!("headers.{name}"), text.clone(), &["api_key"][..])),
    );
    if let Some(poll) = &settings.poll {
        let mut body = Vec::new();
        poll.body.iter().for_each(|tree| texts(tree, "poll.body", &mut body));
        others
            .extend(body.into_iter().map(|(field, text)| (field, text, &["ticket", "model", "api_key"][..])));
        others.push(("poll.url".into(), poll.url.clone(), &["ticket", "model"]));
        others.extend(
            poll.result.iter().map(|text| ("poll.result".into(), text.clone(), &["ticket", "model"][..])),
        );
    }
    others.extend(settings.check.iter().map(|text| ("check".into(), text.clone(), &[][..])));
    for (field, text, known) in &others {
        for name in Template::parse(text).names() {
            known.contains(&name).then_some(()).ok_or_else(|| unknown(field, name, known))?;
            used.extend((name == "api_key").then(|| name.to_owned()));
        }
    }
    Ok(used)
}

fn unknown(field: &str, name: &str, known: &[&str]) -> String {
    if name == "api_key" {
        return format!("{field}: {{api_key}} belongs into a header: addresses end up in logs");
    }
    let list: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
    let list = if list.is_empty() { "none".into() } else { list.join(", ") };
    format!("{field}: there is no {{{name}}} here; there are: {list}. A brace that is meant is doubled: {{{{")
}

fn pointers(settings: &Settings) -> Result<(), String> {
    let (poll, images) = (settings.poll.as_ref(), settings.images.as_ref());
    let mut all = vec![
        ("submit.ticket", settings.submit.ticket.as_ref()),
        ("poll.status", poll.and_then(|poll| poll.status.as_ref())),
        ("poll.percent", poll.and_then(|poll| poll.percent.as_ref())),
    ];
    all.extend(images.map(|images| images.pointers()).into_iter().flatten());
    all.extend(settings.errors.message.as_slice().iter().map(|p| ("errors.message", Some(p))));
    all.extend(settings.errors.code.as_slice().iter().map(|p| ("errors.code", Some(p))));
    for (field, text) in all {
        text.map_or(Ok(()), |text| pointer::check(text)).map_err(|e| format!("{field}: {e}"))?;
    }
    Ok(())
}

/// The calls as a whole.
fn calls(settings: &Settings) -> Result<(), String> {
    let submit = &settings.submit;
    if submit.body.is_some() && submit.form.is_some() {
        return Err("submit.form: there is a `body` too; one of them is sent".into());
    }
    match (&submit.ticket, &settings.poll) {
        (Some(_), None) => {
            return Err("submit.ticket: a ticket needs `poll`, which says how to ask with it".into());
        }
        (None, Some(_)) => return Err("poll: there is no `submit.ticket` to ask with".into()),
        _ => {}
    }
    let Some(poll) = &settings.poll else { return Ok(()) };
    if poll.status.is_some() && poll.done.as_slice().is_empty() {
        return Err("poll.done: which words of `status` mean that the image is there?".into());
    }
    if poll.status.is_none() && !(poll.done.as_slice().is_empty() && poll.failed.is_empty()) {
        return Err("poll.status: where is the word that `done` and `failed` name?".into());
    }
    let asks = |text: &str| Template::parse(text).names().any(|name| name == "ticket");
    let mut body = Vec::new();
    poll.body.iter().for_each(|tree| texts(tree, "poll.body", &mut body));
    if !asks(&poll.url) && !body.iter().any(|(_, text)| asks(text)) {
        return Err("poll.url: it has no {ticket}".into());
    }
    if poll.every.is_zero() {
        return Err("poll.every: 0 would ask without a pause".into());
    }
    Ok(())
}

fn images(settings: &Settings) -> Result<(), String> {
    let Some(images) = &settings.images else { return Ok(()) };
    let Some(url) = &images.url else { return Ok(()) };
    if !(url.starts_with('/') || url.starts_with("https://") || url.starts_with("http://")) {
        return Err(format!("images.url: `{url}` begins with neither `/` nor `https://`"));
    }
    if settings.result_hosts.is_empty() {
        return Err("images.url: the host of these URLs must be listed in result_hosts".into());
    }
    Ok(())
}

fn headers(settings: &Settings) -> Result<(), String> {
    let common = settings.headers.keys().map(|name| ("headers", name));
    let own = settings.submit.headers.keys().map(|name| ("submit.headers", name));
    let key = settings.submit.idempotency_header.iter().map(|name| ("submit.idempotency_header", name));
    for (field, name) in common.chain(own).chain(key) {
        if !is_header_name(name) {
            return Err(format!("{field}: `{name}` is not the name of a header"));
        }
    }
    let all = settings.headers.iter().map(|header| ("headers", header));
    let own = settings.submit.headers.iter().map(|header| ("submit.headers", header));
    for (field, (name, text)) in all.chain(own) {
        if text.chars().any(char::is_control) {
            return Err(format!(
                "{field}.{name}: a line break or another control character cannot be in a header"
            ));
        }
    }
    Ok(())
}
