//! What can be wrong with a description: found when the configuration is read, each with its field.

use crate::settings::Settings;
use plugin_declared::{
    address,
    models::Used,
    pointer,
    template::{REQUEST, Template, texts},
};
use serde_json::{Map, Value};

/// The names of the placeholders in the paid call.
///
/// # Errors
/// The first mistake, as `field: sentence`.
pub fn check(settings: &Settings) -> Result<Used, String> {
    server(settings)?;
    if settings.tool.trim().is_empty() {
        return Err("tool: it is empty; name the tool that makes the image".into());
    }
    job(settings)?;
    pointers(settings)?;
    if let Some(url) = settings.images.as_ref().and_then(|images| images.url.as_ref()) {
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            return Err(format!("images.url: `{url}` begins with neither `https://` nor `http://`"));
        }
        if settings.result_hosts.is_empty() {
            return Err("images.url: the host of these URLs must be listed in result_hosts".into());
        }
    }
    let mut used = Used::new();
    for (field, text) in found("arguments", &settings.arguments) {
        for name in Template::parse(&text).names() {
            let known = REQUEST.contains(&name) || name.starts_with("vendor.");
            known.then_some(()).ok_or_else(|| unknown(&field, name, &REQUEST))?;
            used.insert(name.to_owned());
        }
    }
    if !used.contains("prompt") {
        return Err("arguments: none of them holds {prompt}".into());
    }
    Ok(used)
}

fn server(settings: &Settings) -> Result<(), String> {
    match (&settings.url, &settings.command) {
        (None, None) => {
            return Err("url: where is the server? Its address, or `command` for a program".into());
        }
        (Some(_), Some(_)) => return Err("command: there is a `url` too; the server is one of them".into()),
        (Some(url), None) => {
            address::parse(url).map_err(|e| format!("url: {e}"))?;
            let own = [("args", !settings.args.is_empty()), ("env", !settings.env.is_empty())];
            if let Some((field, _)) = own.iter().find(|(_, given)| *given) {
                return Err(format!("{field}: it belongs to a `command`, and there is a `url`"));
            }
        }
        (None, Some(command)) => {
            if command.trim().is_empty() {
                return Err("command: it is empty".into());
            }
            let own = [("bearer", settings.bearer.is_some()), ("headers", !settings.headers.is_empty())];
            if let Some((field, _)) = own.iter().find(|(_, given)| *given) {
                return Err(format!(
                    "{field}: a program takes its credentials from `env`; this belongs to a `url`"
                ));
            }
        }
    }
    for (name, value) in &settings.headers {
        if !address::is_header_name(name) {
            return Err(format!("headers: `{name}` is not the name of a header"));
        }
        if value.expose().chars().any(char::is_control) {
            return Err(format!(
                "headers.{name}: a line break or another control character cannot be in a header"
            ));
        }
    }
    match settings.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        Some(name) => Err(format!("env: `{name}` is not the name of a variable")),
        None => Ok(()),
    }
}

fn job(settings: &Settings) -> Result<(), String> {
    let poll = match (&settings.ticket, &settings.poll) {
        (None, None) => return Ok(()),
        (Some(_), None) => {
            return Err("ticket: a ticket needs `poll`, which says how to ask with it".into());
        }
        (None, Some(_)) => return Err("poll: there is no `ticket` to ask with".into()),
        (Some(_), Some(poll)) => poll,
    };
    let result = poll.result.as_ref();
    let asked =
        [Some(("poll.arguments", &poll.arguments)), result.map(|r| ("poll.result.arguments", &r.arguments))];
    for (field, arguments) in asked.into_iter().flatten() {
        let all = found(field, arguments);
        let mut asks = false;
        for (field, text) in &all {
            for name in Template::parse(text).names() {
                let known = ["ticket", "model"];
                known.contains(&name).then_some(()).ok_or_else(|| unknown(field, name, &known))?;
                asks |= name == "ticket";
            }
        }
        if !asks {
            return Err(format!("{field}: none of them holds {{ticket}}"));
        }
    }
    if poll.tool.trim().is_empty() {
        return Err("poll.tool: it is empty".into());
    }
    if poll.done.as_slice().is_empty() {
        return Err("poll.done: which words of `status` mean that the image is there?".into());
    }
    if poll.every.is_zero() {
        return Err("poll.every: 0 would ask without a pause".into());
    }
    Ok(())
}

fn pointers(settings: &Settings) -> Result<(), String> {
    let poll = settings.poll.as_ref();
    let mut all = vec![
        ("ticket", settings.ticket.as_ref()),
        ("poll.status", poll.map(|poll| &poll.status)),
        ("poll.percent", poll.and_then(|poll| poll.percent.as_ref())),
    ];
    all.extend(settings.images.iter().flat_map(|images| images.pointers()));
    all.extend(settings.errors.message.as_slice().iter().map(|p| ("errors.message", Some(p))));
    all.extend(settings.errors.code.as_slice().iter().map(|p| ("errors.code", Some(p))));
    for (field, text) in all {
        text.map_or(Ok(()), |text| pointer::check(text)).map_err(|e| format!("{field}: {e}"))?;
    }
    Ok(())
}

fn found(field: &str, arguments: &Map<String, Value>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    arguments.iter().for_each(|(name, value)| texts(value, &format!("{field}.{name}"), &mut all));
    all
}

fn unknown(field: &str, name: &str, known: &[&str]) -> String {
    let list: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
    let list = list.join(", ");
    format!("{field}: there is no {{{name}}} here; there are: {list}. A brace that is meant is doubled: {{{{")
}
