//! Which path leads where.

use super::faces::Endpoint;
use crate::mcp::Paths;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    Mcp(Endpoint),
    /// What follows `/images/`, undecoded.
    Image(&'a str),
    Home,
    Health,
    Live,
    Ready,
    Nothing,
}

pub fn route<'a>(path: &'a str, paths: &Paths) -> Route<'a> {
    match path {
        _ if Some(path) == paths.jobs.as_deref() => Route::Mcp(Endpoint::Jobs),
        _ if Some(path) == paths.sse.as_deref() => Route::Mcp(Endpoint::Sse),
        "/" => Route::Home,
        "/health" => Route::Health,
        "/livez" => Route::Live,
        "/readyz" => Route::Ready,
        _ => match path.strip_prefix("/images/") {
            Some(name) if !name.is_empty() => Route::Image(name),
            _ => Route::Nothing,
        },
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
            Route::Mcp(_) => "GET, POST, DELETE, OPTIONS",
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
        assert_eq!(route("/sse", &paths), Route::Nothing, "a path that is off does not exist");
        assert_eq!(route("/images/a/b.png", &paths), Route::Image("a/b.png"));
        for nothing in ["/images/", "/images", "/mcp/", "/metrics", "/admin", "//mcp", "/MCP", "*", ""] {
            assert_eq!(route(nothing, &paths), Route::Nothing, "{nothing}");
        }
    }
}
