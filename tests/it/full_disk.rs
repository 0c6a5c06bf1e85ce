//! A full disk: refused before anything is bought, and well again when there is room.

use crate::support::{Gateway, config, eventually, vendor};
use serde_json::json;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use testkit::FakeUpstream;

/// A small disk of its own; gone with the value.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None` where this user may not mount.
    fn mount(size: &str) -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Disk { folder })
    }
    fn path(&self) -> &Path {
        self.folder.path()
    }
    /// Writes until nothing fits any more.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4 << 10, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.folder.path()).status().ok();
    }
}

#[tokio::test]
async fn a_full_disk_buys_nothing_and_room_makes_it_well() {
    // The gateway keeps 64 MiB free for its database and paid answers.
    let Some(disk) = Disk::mount("96m") else {
        eprintln!("skipped: a full disk needs the right to mount a tmpfs");
        return;
    };
    let upstream = FakeUpstream::start().await;
    upstream.default(vendor::openai_picture());
    let data = disk.path().join("data");
    let gateway =
        Gateway::start(config().openai(&upstream).set("storage.max_image", "4MiB").data_dir(&data)).await;
    let client = gateway.client();
    let before = client.tool("generate_image_and_wait", json!({"prompt": "a fox"})).await.ok();

    // Getting full: there is still room for what is under way, and nothing new is begun. Free space is counted at most
    // once a second.
    let reserve = disk.path().join("reserve");
    std::fs::write(&reserve, vec![b'x'; 48 << 20]).unwrap();
    let refused = eventually("the gateway notices", async || {
        // One that was let in just before waits for room; nobody waits for it here.
        let ask = json!({"prompt": "a fox", "max_wait_seconds": 1});
        let result = client.tool("generate_image_and_wait", ask).await;
        result.is_error.then_some(result)
    })
    .await
    .failed("storage_error");
    assert!(refused.json["retry_after_ms"].is_u64(), "{}", refused.json);

    // Full to the last byte.
    let ballast = disk.fill();
    let bought = upstream.submissions();
    for _ in 0..5 {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                          "params": {"name": "generate_image", "arguments": {"prompt": "a fox"}}});
        let answer = client.post(&body).await;
        let (status, waits) = (answer.status(), answer.headers().contains_key("retry-after"));
        let said: serde_json::Value = answer.json().await.unwrap();
        let code = &said["result"]["structuredContent"]["code"];
        assert!((status == 503 && waits) || *code == "storage_error", "{status}: {said}");
    }
    assert_eq!(upstream.submissions(), bought, "nothing is bought while it is full");
    let picture = client.get(&before.str("image_url")).await;
    assert_eq!(picture.bytes().await.unwrap(), vendor::png(), "what is there is still served");
    let health = client.get(&format!("{}/livez", gateway.url())).await;
    assert!(health.status().is_success(), "and the process lives");

    std::fs::remove_file(ballast).unwrap();
    std::fs::remove_file(reserve).unwrap();
    let again = eventually("it is well again", async || {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                          "params": {"name": "generate_image_and_wait", "arguments": {"prompt": "a fox afterwards"}}});
        let said: serde_json::Value = client.post(&body).await.json().await.ok()?;
        (said["result"]["structuredContent"]["success"] == true).then_some(said)
    })
    .await;
    let link = again["result"]["structuredContent"]["image_url"].as_str().unwrap();
    assert_eq!(client.get(link).await.bytes().await.unwrap(), vendor::png());
}
