//! What the edge stands in front of: the MCP face, stored images, and how things stand.

use super::App;
use crate::{
    auth::{Keys, Principal},
    config::Config,
    edge::{self, Answer, Body, Chunks, Faces, ImageHandler, McpHandler, Standing, Standings, ToolCard},
    images::{ImageBody, Images},
    jobs::Jobs,
    limits::Rates,
    mcp::{self, Endpoint, EventStream, Mcp, Reply},
    store::Store,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use std::{io, sync::Arc, time::Duration};

pub(super) fn faces(app: &App, mcp: Mcp, keys: Arc<Keys>, rates: Arc<ArcSwap<Rates>>) -> Faces {
    let exe = std::env::current_exe().map_or("image-gateway".into(), |path| path.display().to_string());
    Faces {
        tools: mcp::tool_cards()
            .map(|(name, description)| ToolCard { name: name.into(), description: description.into() })
            .collect(),
        mcp: Arc::new(McpFace(mcp)),
        images: Arc::new(ImageFace(app.images.clone())),
        standings: Arc::new(Now {
            store: app.store.clone(),
            images: app.images.clone(),
            jobs: app.jobs.clone(),
        }),
        keys,
        rates,
        paths: app.config.mcp.paths.clone(),
        exe,
        clock: app.clock.clone(),
    }
}

struct McpFace(Mcp);

#[async_trait::async_trait]
impl McpHandler for McpFace {
    async fn call(
        &self,
        request: http::Request<Bytes>,
        principal: Arc<Principal>,
        endpoint: edge::Endpoint,
    ) -> Answer {
        // An old client that posts to /sse speaks what one on /mcp speaks.
        let (edge::Endpoint::Jobs | edge::Endpoint::Sse) = endpoint;
        match self.0.http(request, principal, Endpoint::Jobs).await {
            Reply::Whole(answer) => {
                answer.map(|body| if body.is_empty() { Body::Empty } else { Body::Bytes(body) })
            }
            Reply::Stream(head, events) => head.map(|()| Body::Stream(Box::new(Events(events)))),
        }
    }
}

struct Events(EventStream);

#[async_trait::async_trait]
impl Chunks for Events {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        self.0.next().await.map(Ok)
    }
}

struct ImageFace(Arc<Images>);

#[async_trait::async_trait]
impl ImageHandler for ImageFace {
    async fn serve(&self, name: &str, query: &str, headers: &HeaderMap) -> Answer {
        self.0.serve(name, query, headers).await.map(|body| match body {
            ImageBody::Empty => Body::Empty,
            ImageBody::Bytes(bytes) => Body::Bytes(bytes),
            ImageBody::Stream(pieces) => Body::Stream(Box::new(pieces)),
        })
    }
}

/// Rates of keys and teams that have their own, besides the defaults.
pub(super) fn rates(config: &Config) -> Rates {
    let keys = config.auth.keys.iter().map(|key| (key.id.as_str(), &key.limits));
    let teams = config.teams.iter().map(|(name, team)| (name.as_str(), &team.limits));
    Rates::new(&config.limits, keys, teams)
}

/// How things stand, looked at when asked.
struct Now {
    store: Store,
    images: Arc<Images>,
    jobs: Arc<Jobs>,
}

/// Longer than this and a part counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

#[async_trait::async_trait]
impl Standings for Now {
    async fn standing(&self) -> Standing {
        let database = tokio::time::timeout(PATIENCE, self.store.ping());
        let queue = tokio::time::timeout(PATIENCE, self.jobs.load());
        let storage = tokio::time::timeout(PATIENCE, self.images.health());
        let (database, queue, storage) = tokio::join!(database, queue, storage);
        Standing {
            database: matches!(database, Ok(Ok(()))),
            queue: matches!(queue, Ok(Ok(_))),
            storage: matches!(storage, Ok(Ok(()))),
        }
    }
}
