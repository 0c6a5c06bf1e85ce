//! Resources, prompts and completion.

use super::*;
use crate::store::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};

impl Scene {
    async fn ask(&self, peer: Peer, method: &str, params: Value) -> Value {
        body(&self.whole(peer.request(method, params)).await)
    }
    async fn read(&self, uri: &str) -> Value {
        let answer = self.ask(Peer::Legacy, "resources/read", json!({"uri": uri})).await;
        let content = &answer["result"]["contents"][0];
        assert_eq!(
            (&content["uri"], &content["mimeType"]),
            (&json!(uri), &json!("application/json")),
            "{answer}"
        );
        serde_json::from_str(content["text"].as_str().unwrap()).unwrap()
    }
    async fn complete(&self, argument: &str, typed: &str, context: Value) -> Value {
        let params = json!({"ref": {"type": "ref/prompt", "name": "image_generation_prompt"},
            "argument": {"name": argument, "value": typed}, "context": {"arguments": context}});
        self.ask(Peer::Legacy, "completion/complete", params).await["result"]["completion"].clone()
    }
}

#[tokio::test]
async fn the_lists_are_those_of_the_second_predecessor_and_more() {
    let scene = scene();
    for peer in [Peer::Old, Peer::Legacy, Peer::Modern] {
        let listed = scene.ask(peer, "resources/list", json!({})).await;
        let uris: Vec<&Value> =
            listed["result"]["resources"].as_array().unwrap().iter().map(|r| &r["uri"]).collect();
        assert_eq!(uris, ["providers://list", "styles://list", "resolutions://list", "models://list"]);
        assert_eq!(listed["result"]["resources"][0]["name"], "Available Providers");
        assert!(
            !listed.to_string().contains("null"),
            "a null member breaks the TypeScript library: {listed}"
        );
        assert_eq!(listed["result"].get("ttlMs").is_some(), peer == Peer::Modern);
        let templates = scene.ask(peer, "resources/templates/list", json!({})).await;
        assert_eq!(templates["result"]["resourceTemplates"].as_array().unwrap().len(), 4);
        assert!(!templates.to_string().contains("null"));
    }
    assert_eq!(scene.read("providers://list").await, json!(["openai", "hunyuan-eu"]));
    let styles = scene.read("styles://list").await;
    assert_eq!(
        styles,
        json!({"openai": {}, "hunyuan-eu": {"riman": "Japanese anime style", "youhua": "oil painting style"}})
    );
    assert_eq!(scene.read("resolutions://provider/openai").await["1536x1024"], "3:2 landscape");
    assert_eq!(
        scene.read("styles://provider/hunyuan").await["riman"],
        "Japanese anime style",
        "by its kind too"
    );
    let models = scene.read("models://list").await;
    assert!(models.as_array().unwrap().iter().any(|m| m["name"] == "sdxl-base"), "{models}");
}

#[tokio::test]
async fn a_job_and_an_image_are_read_by_their_ids() {
    let scene = scene();
    let job = scene.fake.job(State::Completed);
    let shown = scene.read(&format!("job://{job}")).await;
    assert_eq!((&shown["job_id"], &shown["status"]), (&json!(job), &json!("completed")));
    let image = shown["images"][0]["uri"].as_str().unwrap();
    for peer in [Peer::Legacy, Peer::Modern] {
        let answer = scene.ask(peer, "resources/read", json!({"uri": image})).await;
        let content = &answer["result"]["contents"][0];
        assert_eq!(content["mimeType"], "image/png", "{answer}");
        assert!(!STANDARD.decode(content["blob"].as_str().unwrap()).unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_not_there_is_an_error_of_its_era() {
    let scene = scene();
    let nobodys = uuid::Uuid::new_v4();
    for uri in [
        "styles://provider/nobody",
        "unknown://list",
        "nothing",
        "",
        "image://x",
        &format!("image://{nobodys}"),
        &format!("job://{nobodys}"),
    ] {
        for (peer, code) in [(Peer::Legacy, -32002), (Peer::Modern, -32602)] {
            let answer = scene.ask(peer, "resources/read", json!({"uri": uri})).await;
            assert_eq!(
                (&answer["error"]["code"], &answer["error"]["data"]["uri"]),
                (&json!(code), &json!(uri)),
                "{answer}"
            );
        }
    }
    let answer = scene.ask(Peer::Legacy, "resources/read", json!({})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let writer = Scene { principal: principal(&[Scope::ImagesWrite]), ..scene };
    let answer = writer.ask(Peer::Legacy, "resources/read", json!({"uri": "job://x"})).await;
    assert_eq!(answer["error"]["code"], 403, "reading needs images:read: {answer}");
}

#[tokio::test]
async fn a_prompt_names_what_there_is_to_choose_from() {
    let scene = scene();
    let listed = scene.ask(Peer::Legacy, "prompts/list", json!({})).await;
    let prompts = listed["result"]["prompts"].as_array().unwrap();
    assert_eq!(prompts[0]["name"], "image_generation_prompt");
    for argument in prompts.iter().flat_map(|p| p["arguments"].as_array().unwrap()) {
        assert!(argument["required"].is_boolean(), "on every argument: {argument}");
    }
    let arguments = json!({"description": "a red fox", "style": "riman", "file_prefix": "fox"});
    for peer in [Peer::Legacy, Peer::Modern] {
        let params = json!({"name": "image_generation_prompt", "arguments": arguments});
        let got = scene.ask(peer, "prompts/get", params).await["result"].clone();
        assert_eq!(got["description"], "Image generation prompt for: a red fox");
        let message = &got["messages"][0];
        assert_eq!((&message["role"], &message["content"]["type"]), (&json!("user"), &json!("text")));
        let text = message["content"]["text"].as_str().unwrap();
        for part in [
            "a red fox",
            "Style: riman",
            "File prefix: fox",
            "hunyuan-eu",
            "oil painting",
            "1536x1024",
            "generate_image_and_wait",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
    for prompt in prompts {
        let all = prompt["arguments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| (a["name"].as_str().unwrap().to_owned(), json!("seven words")));
        let filled: Value = all.collect::<serde_json::Map<_, _>>().into();
        let got = scene
            .ask(Peer::Legacy, "prompts/get", json!({"name": prompt["name"], "arguments": filled}))
            .await;
        assert!(
            got["result"]["messages"][0]["content"]["text"].as_str().unwrap().contains("seven words"),
            "{got}"
        );
        let got = scene.ask(Peer::Legacy, "prompts/get", json!({"name": prompt["name"]})).await;
        assert_eq!(got["error"]["code"], -32602, "a required argument is missing: {got}");
    }
    let got = scene.ask(Peer::Legacy, "prompts/get", json!({"name": "nobody"})).await;
    assert_eq!(got["error"]["code"], -32602);
}

#[tokio::test]
async fn arguments_are_completed_with_what_fits_the_provider_chosen_before() {
    let scene = scene();
    assert_eq!(
        scene.complete("provider", "", json!({})).await,
        json!({"values": ["openai", "hunyuan-eu"], "total": 2, "hasMore": false})
    );
    assert_eq!(scene.complete("provider", "HUN", json!({})).await["values"], json!(["hunyuan-eu"]));
    assert_eq!(scene.complete("style", "", json!({"provider": "openai"})).await["values"], json!([]));
    assert_eq!(
        scene.complete("style", "y", json!({"provider": "hunyuan-eu"})).await["values"],
        json!(["youhua"])
    );
    assert_eq!(
        scene.complete("resolution", "15", json!({})).await["values"],
        json!(["1536x1024"]),
        "each once"
    );
    assert_eq!(scene.complete("description", "a", json!({})).await["values"], json!([]), "free text");
    let job = scene.fake.job(State::Completed);
    for (uri, wanted) in [("job://{id}", Some(job)), ("image://{id}", None)] {
        let params =
            json!({"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": "id", "value": ""}});
        let answer = scene.ask(Peer::Modern, "completion/complete", params).await;
        let values = answer["result"]["completion"]["values"].as_array().unwrap();
        assert_eq!(values.len(), 1, "{answer}");
        assert!(wanted.is_none_or(|job| values[0] == json!(job)), "{answer}");
    }
    for bad in [
        json!({}),
        json!({"ref": {"type": "ref/tool"}, "argument": {"name": "a", "value": ""}}),
        json!({"ref": {"type": "ref/prompt"}}),
    ] {
        assert_eq!(scene.ask(Peer::Legacy, "completion/complete", bad).await["error"]["code"], -32602);
    }
}
