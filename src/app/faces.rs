//! What the edge stands in front of: the MCP face, stored images, and how things stand.

use super::App;
use crate::{
    auth::{Keys, Principal},
    config::Config,
    edge::{
        self, Answer, Body, Chunks, Faces, ImageHandler, McpHandler, Refusal, Standing, Standings, ToolCard,
        UploadHandler,
    },
    images::{ImageBody, Images, Kept},
    jobs::{Jobs, PutError},
    limits::Rates,
    mcp::{self, EventStream, Listening, Mcp, Profile, Reply},
    store::Store,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::{io, sync::Arc, time::Duration};
use uuid::Uuid;

pub(super) fn faces(app: &App, mcp: Mcp, keys: Arc<Keys>, rates: Arc<ArcSwap<Rates>>) -> Faces {
    let exe = std::env::current_exe().map_or("image-gateway".into(), |path| path.display().to_string());
    Faces {
        tools: mcp::tool_cards()
            .map(|(name, description)| ToolCard { name: name.into(), description: description.into() })
            .collect(),
        mcp: Arc::new(McpFace(mcp)),
        images: Arc::new(ImageFace(app.images.clone())),
        uploads: Arc::new(UploadFace(app.jobs.clone())),
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
        let reply = match endpoint {
            edge::Endpoint::Jobs => self.0.http(request, principal, Profile::Job).await,
            edge::Endpoint::Sse => self.0.sse(request, principal).await,
            edge::Endpoint::Messages => self.0.messages(request, principal).await,
            edge::Endpoint::Blocking => self.0.http(request, principal, Profile::Blocking).await,
        };
        match reply {
            Reply::Whole(answer) => {
                answer.map(|body| if body.is_empty() { Body::Empty } else { Body::Bytes(body) })
            }
            Reply::Stream(head, events) => head.map(|()| Body::Stream(Box::new(Events(events)))),
            Reply::Listen(head, events) => head.map(|()| Body::Stream(Box::new(SessionEvents(events)))),
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

struct SessionEvents(Listening);

#[async_trait::async_trait]
impl Chunks for SessionEvents {
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

struct UploadFace(Arc<Jobs>);

/// The answer to a `PUT` that was taken.
#[derive(serde::Serialize)]
struct Uploaded {
    upload_id: Uuid,
    mime_type: &'static str,
    width: u32,
    height: u32,
    sha256: String,
}

#[async_trait::async_trait]
impl UploadHandler for UploadFace {
    fn admit(&self, token: &str) -> Result<(), Refusal> {
        if self.0.has_slot(token) { Ok(()) } else { Err(refused(&PutError::NoSlot)) }
    }

    async fn put(&self, token: &str, bytes: Bytes) -> Result<Answer, Refusal> {
        let (upload_id, kept) = self.0.put_upload(token, bytes).await.map_err(|error| refused(&error))?;
        let Kept { mime, width, height, sha256, .. } = kept;
        let uploaded = Uploaded { upload_id, mime_type: mime.as_str(), width, height, sha256 };
        Ok(edge::json(StatusCode::CREATED, &uploaded))
    }
}

fn refused(error: &PutError) -> Refusal {
    let status = match error {
        PutError::Away => return Refusal::unavailable(error.to_string()),
        PutError::NoSlot => StatusCode::NOT_FOUND,
        PutError::Used => StatusCode::CONFLICT,
        PutError::NoImage(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Refusal::new(status, error.to_string())
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
