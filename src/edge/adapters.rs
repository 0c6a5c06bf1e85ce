//! The real faces behind the edge's borders. They name no type of the front; here their answers take its form.

use super::{
    answer::{Answer, Body, Chunks},
    faces::{ImageHandler, McpHandler},
};
use crate::{
    auth::Principal,
    images::{ImageBody, Images},
    mcp::{Endpoint, EventStream, Mcp, Reply},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use std::{io, sync::Arc};

#[async_trait]
impl McpHandler for Mcp {
    async fn call(
        &self,
        request: http::Request<Bytes>,
        principal: Arc<Principal>,
        endpoint: Endpoint,
    ) -> Answer {
        match self.http(request, principal, endpoint).await {
            Reply::Whole(answer) => answer.map(Body::Bytes),
            Reply::Stream(head, events) => head.map(|()| Body::Stream(Box::new(events))),
        }
    }
}

#[async_trait]
impl Chunks for EventStream {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        EventStream::next(self).await.map(Ok)
    }
}

#[async_trait]
impl ImageHandler for Images {
    async fn serve(&self, name: &str, query: &str, headers: &HeaderMap) -> Answer {
        Images::serve(self, name, query, headers).await.map(|body| match body {
            ImageBody::Empty => Body::Empty,
            ImageBody::Bytes(bytes) => Body::Bytes(bytes),
            ImageBody::Stream(pieces) => Body::Stream(Box::new(pieces)),
        })
    }
}
