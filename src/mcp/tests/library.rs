//! A client library that is not ours (rmcp) lists and calls, over both transports and in every way of opening.

use super::*;
use crate::store::State;
use ::http::{HeaderName, HeaderValue};
use rmcp::{
    model::{CallToolRequestParams, ClientJsonRpcMessage, ProtocolVersion},
    service::{ClientLifecycleMode, RoleClient, RunningService, serve_client_with_lifecycle},
    transport::{
        StreamableHttpClientTransport,
        streamable_http_client::{
            StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
            StreamableHttpPostResponse,
        },
    },
};
use std::{collections::HashMap, io};

fn lifecycles() -> [ClientLifecycleMode; 3] {
    let modern = vec![ProtocolVersion::V_2026_07_28];
    [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover { preferred_versions: modern.clone() },
        ClientLifecycleMode::Auto { preferred_versions: modern, legacy_version: None },
    ]
}

async fn lists_and_calls(client: RunningService<RoleClient, ()>, scene: &Scene) {
    let tools = client.list_all_tools().await.unwrap();
    assert_eq!((tools.len(), tools[0].name.as_ref()), (16, "list_models"));
    let done = scene.fake.job(State::Completed);
    let arguments = json!({"job_id": done}).as_object().unwrap().clone();
    let call = CallToolRequestParams::new("wait_for_completion").with_arguments(arguments);
    let result = client.call_tool(call).await.unwrap();
    assert_ne!(result.is_error, Some(true));
    let object = result.structured_content.unwrap();
    assert_eq!(object["status"], "completed");
    let text: Value = serde_json::from_str(&result.content[0].as_text().unwrap().text).unwrap();
    assert_eq!(text, object);
    assert!(result.content[1].as_image().is_some());
    let unknown = client.call_tool(CallToolRequestParams::new("no_such_tool")).await;
    assert!(unknown.unwrap_err().to_string().contains("unknown tool"));
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn over_stdio() {
    for lifecycle in lifecycles() {
        let scene = scene();
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (mcp, principal) = (scene.mcp.clone(), Arc::clone(&scene.principal));
        let served = tokio::spawn(async move {
            let (read, write) = tokio::io::split(theirs);
            mcp.stdio(Profile::Job, principal, read, write).await
        });
        let transport = tokio::io::split(ours);
        let client = serve_client_with_lifecycle((), transport, lifecycle).await.unwrap();
        lists_and_calls(client, &scene).await;
        served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn over_http() {
    for lifecycle in lifecycles() {
        let scene = scene();
        let wire = Wire(scene.mcp.clone(), Arc::clone(&scene.principal));
        let config = StreamableHttpClientTransportConfig::with_uri("http://gateway/mcp");
        let transport = StreamableHttpClientTransport::with_client(wire, config);
        let client = serve_client_with_lifecycle((), transport, lifecycle).await.unwrap();
        lists_and_calls(client, &scene).await;
    }
}

/// Carries a library's HTTP requests to the server without a socket.
#[derive(Clone)]
struct Wire(Mcp, Arc<Principal>);

type Refused = StreamableHttpError<io::Error>;
type SseStream = rmcp::transport::common::client_side_sse::BoxedSseResponse;

impl StreamableHttpClient for Wire {
    type Error = io::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        _: Option<Arc<str>>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Refused> {
        let mut request = Request::post(&*uri)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Bytes::from(serde_json::to_vec(&message).unwrap()))
            .unwrap();
        request.headers_mut().extend(headers);
        let json = match self.0.http(request, Arc::clone(&self.1), Profile::Job).await {
            Reply::Whole(response) if response.status() == 202 => {
                return Ok(StreamableHttpPostResponse::Accepted);
            }
            Reply::Whole(response) => response.into_body(),
            Reply::Stream(_, mut events) => {
                let mut last = Bytes::new();
                while let Some(event) = events.next().await {
                    last = event;
                }
                last.slice("event: message\ndata: ".len()..)
            }
            Reply::Listen(..) => panic!("a call has no such stream"),
        };
        Ok(StreamableHttpPostResponse::Json(serde_json::from_slice(&json).unwrap(), None))
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        _: Arc<str>,
        _: Option<String>,
        _: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Refused> {
        unreachable!("no session was given")
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        _: Option<Arc<str>>,
        _: Option<String>,
        _: Option<String>,
        _: HashMap<HeaderName, HeaderValue>,
    ) -> Result<SseStream, Refused> {
        Err(Refused::ServerDoesNotSupportSse)
    }
}
