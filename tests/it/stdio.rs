//! As Claude Desktop, Cursor and Windsurf start it: a child process, no key, no socket.

use crate::support::{Config, Gateway, Home, config};
use rmcp::{
    RoleClient, ServiceExt,
    model::{CallToolRequestParams, CallToolResult},
    service::RunningService,
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

type Host = RunningService<RoleClient, ()>;

async fn host(home: &Home, args: &[&str]) -> Host {
    let mut words = vec!["stdio"];
    words.extend_from_slice(args);
    let (child, _) = TokioChildProcess::builder(home.command(&words)).stderr(Stdio::null()).spawn().unwrap();
    ().serve(child).await.expect("it speaks MCP on its standard output and nothing else")
}

async fn call(host: &Host, name: &'static str, arguments: Value) -> Value {
    let params = CallToolRequestParams::new(name).with_arguments(arguments.as_object().cloned().unwrap());
    let result: CallToolResult = host.call_tool(params).await.unwrap();
    assert_ne!(result.is_error, Some(true), "{result:?}");
    result.structured_content.unwrap()
}

#[tokio::test]
async fn a_picture_is_left_on_disk_and_a_readable_copy_where_asked() {
    let home = Home::new(Config::default());
    let folder = home.data_dir().with_file_name("pictures");
    let host = host(&home, &["--save-dir", folder.to_str().unwrap()]).await;
    assert_eq!(host.list_all_tools().await.unwrap().len(), 16);

    let made =
        call(&host, "generate_image_and_wait", json!({"prompt": "a hero image", "file_prefix": "hero"}))
            .await;
    let image = &made["images"][0];
    let path = image["local_path"].as_str().expect("a caller on this machine gets the path");
    let bytes = std::fs::read(path).expect("the stored file is there");
    assert_eq!(bytes.len() as u64, image["size_bytes"].as_u64().unwrap());
    assert!(made["image_url"].as_str().unwrap().starts_with("file:"), "nothing serves links here: {made}");

    let name = format!("hero-placeholder-{}.png", image["id"].as_str().unwrap());
    assert_eq!(std::fs::read(folder.join(&name)).expect("prefix-model-id.ext"), bytes, "{name}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "and nothing else");
    host.cancel().await.unwrap();
}

#[tokio::test]
async fn a_host_takes_what_its_file_says_now() {
    let home = Home::new(config().placeholder(json!({})));
    let host = host(&home, &[]).await;
    home.configure(&config().placeholder(json!({})).model("card", &["placeholder/card"]));
    let answer = call(&host, "reload_config", json!({})).await;
    assert_eq!(answer["result"]["changes"]["models"]["added"], json!(["card"]));
    call(&host, "generate_image_and_wait", json!({"prompt": "a fox", "model": "card"})).await;
    host.cancel().await.unwrap();
}

#[tokio::test]
async fn two_hosts_and_a_server_share_one_data_directory() {
    let gateway = Gateway::start(config().placeholder(json!({}))).await;
    let (one, two) = tokio::join!(host(gateway.home(), &[]), host(gateway.home(), &[]));
    let client = gateway.client();
    let ask = |prompt: &str| json!({"prompt": prompt, "size": "256x256"});
    let (a, b, c) = tokio::join!(
        call(&one, "generate_image_and_wait", ask("of one")),
        call(&two, "generate_image_and_wait", ask("of two")),
        client.tool("generate_image_and_wait", ask("of the server")),
    );
    let c = c.ok().json;
    for made in [&a, &b, &c] {
        assert_eq!(made["status"], "completed", "{made}");
    }
    for list in [
        call(&one, "list_jobs", json!({})).await,
        call(&two, "list_jobs", json!({})).await,
        client.tool("list_jobs", json!({})).await.ok().json,
    ] {
        assert_eq!(list["total_count"], 3, "each sees the jobs of all: {list}");
    }
    // What a host made opens at the server too.
    let gallery = client.tool("list_generations", json!({})).await.ok().json;
    for row in gallery["generations"].as_array().unwrap() {
        let answer = client.get(row["image_url"].as_str().unwrap()).await;
        assert!(answer.status().is_success(), "{row}");
    }
    // A wait of one process sees what another finishes.
    let job = client.generate("seen by a host").await;
    let seen = call(&one, "wait_for_completion", json!({"job_id": job})).await;
    assert_eq!(seen["status"], "completed");
    one.cancel().await.unwrap();
    two.cancel().await.unwrap();
}

#[tokio::test]
async fn without_a_data_directory_it_keeps_to_the_users_own() {
    let home = Home::new(Config::default());
    let user = home.data_dir().with_file_name("user");
    std::fs::create_dir(&user).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_image-gateway"));
    command.arg("stdio").env_clear().env("HOME", &user).current_dir("/").kill_on_drop(true);
    let (child, _) = TokioChildProcess::builder(command).stderr(Stdio::null()).spawn().unwrap();
    let host = ().serve(child).await.unwrap();
    let made = call(&host, "generate_image_and_wait", json!({"prompt": "a fox", "size": "64x64"})).await;
    let path = Path::new(made["images"][0]["local_path"].as_str().unwrap());
    assert!(path.starts_with(&user), "{} is under {}", path.display(), user.display());
    host.cancel().await.unwrap();
}

#[tokio::test]
async fn a_client_may_end_the_process_instead_of_closing_its_input() {
    let home = Home::new(Config::default());
    let mut child = home
        .command(&["stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    input.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").await.unwrap();
    assert!(output.next_line().await.unwrap().is_some(), "it is up");
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), child.wait()).await;
    let status = ended.expect("it ends though its input is still open").unwrap();
    assert!(status.success(), "{status}");
}
