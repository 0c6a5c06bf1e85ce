//! Which path leads where.

use super::{faces::Endpoint, oauth::WELL_KNOWN};
use crate::mcp::Paths;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    Mcp(Endpoint),
    /// What follows `/images/`, undecoded.
    Image(&'a str),
    /// What follows `/uploads/`.
    Upload(&'a str),
    /// Who gives out tokens for the endpoint at this path.
    Metadata(&'a str),
    Home,
    Health,
    Live,
    Ready,
    Nothing,
}

pub fn route<'a>(path: &'a str, paths: &'a Paths) -> Route<'a> {
    match path {
        _ if Some(path) == paths.jobs.as_deref() => Route::Mcp(Endpoint::Jobs),
        _ if Some(path) == paths.sse.as_deref() => Route::Mcp(Endpoint::Sse),
        _ if Some(path) == paths.messages.as_deref() => Route::Mcp(Endpoint::Messages),
        _ if Some(path) == paths.blocking.as_deref() => Route::Mcp(Endpoint::Blocking),
        "/" => Route::Home,
        "/health" => Route::Health,
        "/livez" => Route::Live,
        "/readyz" => Route::Ready,
        _ => {
            let below = |folder| path.strip_prefix(folder).filter(|rest: &&str| !rest.is_empty());
            if let Some(endpoint) = path.strip_prefix(WELL_KNOWN) {
                // What is posted there belongs to the stream.
                let posts = paths.messages.as_deref().filter(|path| *path == endpoint);
                let endpoint = posts.and(paths.sse.as_deref()).unwrap_or(endpoint);
                let all = [&paths.jobs, &paths.sse, &paths.blocking];
                let found = all.into_iter().flatten().find(|p| endpoint.is_empty() || *p == endpoint);
                return found.map_or(Route::Nothing, |path| Route::Metadata(path));
            }
            let image = below("/images/").map(Route::Image);
            image.or_else(|| below("/uploads/").map(Route::Upload)).unwrap_or(Route::Nothing)
        }
    }
}

impl Route<'_> {
    pub fn is_mcp(&self) -> bool {
        matches!(self, Route::Mcp(_))
    }

    /// Answered even while the gateway stops.
    pub fn is_probe(&self) -> bool {
        matches!(self, Route::Health | Route::Live | Route::Ready)
    }

    pub fn methods(&self) -> &'static str {
        match self {
            Route::Mcp(Endpoint::Messages) => "POST, OPTIONS",
            Route::Mcp(_) => "GET, POST, DELETE, OPTIONS",
            Route::Upload(_) => "PUT, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_configuration_says() {
        let paths = Paths { sse: None, ..Paths::default() };
        assert_eq!(route("/mcp", &paths), Route::Mcp(Endpoint::Jobs));
        assert_eq!(route("/messages", &paths), Route::Mcp(Endpoint::Messages));
        assert_eq!(route("/mcp/v1/messages", &paths), Route::Mcp(Endpoint::Blocking));
        assert_eq!(route("/sse", &paths), Route::Nothing, "a path that is off does not exist");
        assert_eq!(route("/images/a/b.png", &paths), Route::Image("a/b.png"));
        assert_eq!(route("/uploads/a.b", &paths), Route::Upload("a.b"));
        let known = |end: &str| format!("/.well-known/oauth-protected-resource{end}");
        assert_eq!(route(&known(""), &paths), Route::Metadata("/mcp"));
        assert_eq!(route(&known("/mcp/v1/messages"), &paths), Route::Metadata("/mcp/v1/messages"));
        for nothing in ["/sse", "/", "/images", "mcp", "/mcp/"] {
            assert_eq!(route(&known(nothing), &paths), Route::Nothing, "{nothing}");
        }
        for nothing in
            ["/uploads/", "/images/", "/images", "/mcp/", "/metrics", "/admin", "//mcp", "/MCP", "*", ""]
        {
            assert_eq!(route(nothing, &paths), Route::Nothing, "{nothing}");
        }
    }
}
