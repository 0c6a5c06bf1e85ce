//! A server that is a program: `tests/server`.

#![allow(clippy::unwrap_used)]

mod support;

use plugin_api::{
    Blob, Context, ErrorClass, ImageRequest, Progress, Provider, ProviderError, Source, Spend, Submission,
};
use serde_json::json;
use std::{path::PathBuf, sync::Arc, time::Duration};
use support::{HAT, build, settings};
use testkit::{Bench, CANARY};

/// It lies beside the tests' own: `target/<profile>/examples`.
fn server() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().with_file_name("examples").join("mcp-image-server");
    assert!(program.exists(), "build it first: cargo build -p plugin-mcp --example mcp-image-server");
    program
}

fn local() -> Arc<dyn Provider> {
    let mut settings = settings("local", "");
    settings["command"] = server().to_str().unwrap().into();
    settings["args"] = json!([]);
    settings["env"] = json!({"SERVER_KEY": CANARY});
    build(settings)
}

async fn draw(provider: &dyn Provider, cx: &Context, prompt: &str) -> Result<Submission, ProviderError> {
    provider.submit(cx, &ImageRequest::new("draw", prompt)).await
}

fn blob(made: Result<Submission, ProviderError>) -> Blob {
    let Ok(Submission::Done(mut artifact)) = made else { panic!("the image is there: {made:?}") };
    match artifact.pictures.remove(0).source {
        Source::Blob(blob) => blob,
        Source::Url(url) => panic!("no bytes: {url}"),
    }
}

fn is_alive(id: &str) -> bool {
    // A zombie has ended; its parent has only not looked yet.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn ended(id: &str) {
    for _ in 0..200 {
        if !is_alive(id) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("process {id} is still there");
}

#[tokio::test]
async fn the_image_is_on_disk_before_it_is_read() {
    let (local, bench) = (local(), Bench::new());
    local.check(&bench.context()).await.unwrap();
    for (prompt, len) in [("a fox", HAT.len()), ("large", HAT.len() + 3_000_000), ("ping first", HAT.len())] {
        let cx = bench.context();
        let bytes = blob(draw(&*local, &cx, prompt).await).read().unwrap();
        assert!(bytes.len() == len && bytes.starts_with(HAT), "{prompt}");
        let kept = bench.adopted(&cx).expect("as after a crash");
        assert_eq!(blob(local.read(&ImageRequest::new("draw", prompt), &kept)).read().unwrap(), bytes);
    }
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (local, bench) = (local(), Bench::new());
    let (first, second) = (bench.context(), bench.context());
    let (waited, quick) = tokio::join!(draw(&*local, &first, "wait"), async {
        // The first call starts the program and holds its place in the queue.
        tokio::task::yield_now().await;
        draw(&*local, &second, "a fox").await
    });
    assert_eq!(blob(quick).len(), HAT.len() as u64);
    assert_eq!(blob(waited).len(), HAT.len() as u64 + 3_000_000, "a long line in its own attempt's file");
    assert!(bench.answer_path(&first).exists() && bench.answer_path(&second).exists());
}

#[tokio::test]
async fn it_gets_its_own_environment_and_nothing_else() {
    let local = local();
    let error = draw(&*local, &Bench::new().context(), "environment").await.unwrap_err();
    let names: Vec<&str> = error.message.split(' ').collect();
    let known = ["HOME", "PATH", "SERVER_KEY"];
    assert!(names.iter().all(|name| known.contains(name)) && names.contains(&"SERVER_KEY"), "{names:?}");
    let error = draw(&*local, &Bench::new().context(), "refuse").await.unwrap_err();
    assert_eq!(
        (error.class, error.spend, error.message.as_str()),
        (ErrorClass::InvalidRequest, Spend::None, "no: ***")
    );
}

#[tokio::test]
async fn a_program_that_dies_leaves_the_outcome_open_and_is_started_again() {
    let local = local();
    let error = draw(&*local, &Bench::new().context(), "die").await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::OutcomeUnknown, Spend::Possible));
    blob(draw(&*local, &Bench::new().context(), "a fox").await);
}

#[tokio::test]
async fn a_program_that_is_silent_is_given_up_at_the_deadline() {
    let (local, bench) = (local(), Bench::new());
    blob(draw(&*local, &bench.context(), "a fox").await);
    let error = draw(&*local, &bench.context_for(Duration::from_millis(200)), "silence").await.unwrap_err();
    assert_eq!((error.class, error.spend), (ErrorClass::OutcomeUnknown, Spend::Possible));
    blob(draw(&*local, &bench.context(), "the next call").await);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_or_is_no_server_costs_nothing() {
    for command in ["/no/such/program", "true", "echo"] {
        let provider = build(json!({"command": command, "tool": "draw"}));
        let cx = Bench::new().context();
        for got in [draw(&*provider, &cx, "a fox").await.map(drop), provider.check(&cx).await] {
            let error = got.unwrap_err();
            assert_eq!(
                (error.class, error.spend),
                (ErrorClass::Unavailable, Spend::None),
                "{command}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn it_ends_with_its_instance_and_takes_its_own_children_along() {
    let local = local();
    let error = draw(&*local, &Bench::new().context(), "process").await.unwrap_err();
    let ids: Vec<&str> = error.message.split(' ').collect();
    let again = draw(&*local, &Bench::new().context(), "process").await.unwrap_err();
    assert!(again.message.starts_with(ids[0]), "one process for the instance");
    assert!(ids.iter().all(|id| is_alive(id)), "{ids:?}");
    drop(local);
    for id in ids {
        ended(id).await;
    }
}

#[tokio::test]
async fn linked_resources_are_read_from_the_program() {
    let local = local();
    let request = ImageRequest::new("draw", "link");
    let cx = Bench::new().context();
    let Ok(Submission::Pending(ticket, _)) = local.submit(&cx, &request).await else { panic!("a link") };
    let Ok(Progress::Done(artifact)) = local.poll(&cx, &request, &ticket).await else { panic!("its image") };
    assert!(matches!(&artifact.pictures[0].source, Source::Blob(blob) if blob.read().unwrap() == HAT));
}
