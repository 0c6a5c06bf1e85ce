//! Prompts: texts that a person picks in their client and that lead an assistant to the right call.
//!
//! `image_generation_prompt` is the second predecessor's; the others help to write a good prompt, to compare
//! variations and to change an image.

use super::{
    Inner,
    call::{Call, Profile},
    errors::Fault,
    resources,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;

#[derive(Debug, Serialize)]
pub struct Prompt {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    arguments: &'static [Argument],
}

/// `required` is always there: clients of the second predecessor read it.
#[derive(Debug, Serialize)]
struct Argument {
    name: &'static str,
    description: &'static str,
    required: bool,
}

const fn needs(name: &'static str, description: &'static str) -> Argument {
    Argument { name, description, required: true }
}
const fn may(name: &'static str, description: &'static str) -> Argument {
    Argument { name, description, required: false }
}

static PROMPTS: [Prompt; 4] = [
    Prompt {
        name: "image_generation_prompt",
        title: "Generate an image",
        description: "A request for an image with provider, style and resolution, and what there is to choose from",
        arguments: &[
            needs("description", "What the image shows"),
            may("provider", "Who makes it; left out, the gateway chooses"),
            may("style", "A style id of the provider"),
            may("resolution", "A size, such as 1024x1024"),
            may("file_prefix", "What the file's name begins with"),
        ],
    },
    Prompt {
        name: "write_image_prompt",
        title: "Write a better image prompt",
        description: "Turns an idea into a detailed prompt before anything is generated",
        arguments: &[
            needs("idea", "The idea, in a few words"),
            may("purpose", "Where the image will be used"),
            may("mood", "Mood or look"),
        ],
    },
    Prompt {
        name: "image_variations",
        title: "Compare variations",
        description: "Several takes on one subject at low cost, to choose from",
        arguments: &[needs("description", "What the images show"), may("count", "How many, 4 if left out")],
    },
    Prompt {
        name: "edit_image_prompt",
        title: "Change an image",
        description: "A change to an image that was made before",
        arguments: &[
            needs("image", "The image: its id or image:// URI"),
            needs("change", "What shall be different"),
        ],
    },
];

#[derive(Serialize)]
pub struct Prompts {
    prompts: &'static [Prompt],
}

pub fn all() -> Prompts {
    Prompts { prompts: &PROMPTS }
}

/// The result of `prompts/get`.
#[derive(Debug, Serialize)]
pub struct Filled {
    description: String,
    messages: [Message; 1],
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: Text,
}

#[derive(Debug, Serialize)]
struct Text {
    r#type: &'static str,
    text: String,
}

/// Arguments of a `prompts/get`, by name.
struct Given<'a>(Option<&'a Map<String, Value>>);

impl Given<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0?.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }
}

/// # Errors
/// There is no such prompt, or a required argument is missing.
pub fn admit(params: &Map<String, Value>) -> Result<(), Fault> {
    read(params).map(drop)
}

fn read(params: &Map<String, Value>) -> Result<(&'static Prompt, Given<'_>), Fault> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let prompt = PROMPTS.iter().find(|prompt| prompt.name == name).ok_or_else(|| {
        let short: String = name.chars().take(100).collect();
        Fault::invalid_params(&format!("unknown prompt: {short}"))
    })?;
    let given = Given(params.get("arguments").and_then(Value::as_object));
    match prompt.arguments.iter().find(|a| a.required && given.get(a.name).is_none()) {
        Some(missing) => Err(Fault::invalid_params(&format!("missing argument: {}", missing.name))),
        None => Ok((prompt, given)),
    }
}

/// Fills a prompt in.
///
/// # Errors
/// As [`admit`].
pub fn get(inner: &Inner, call: &Call, params: &Map<String, Value>) -> Result<Filled, Fault> {
    let (prompt, given) = read(params)?;
    let of = |name: &str| given.get(name).unwrap_or_default().to_owned();
    let (description, text) = match prompt.name {
        "image_generation_prompt" => {
            (format!("Image generation prompt for: {}", of("description")), generation(inner, call, &given))
        }
        "write_image_prompt" => (format!("An image prompt for: {}", of("idea")), better(&given)),
        "image_variations" => (format!("Variations of: {}", of("description")), variations(&given)),
        _ => (format!("A change: {}", of("change")), change(&given)),
    };
    let content = Text { r#type: "text", text };
    Ok(Filled { description, messages: [Message { role: "user", content }] })
}

fn generation(inner: &Inner, call: &Call, given: &Given<'_>) -> String {
    let providers = resources::providers(inner, call);
    let ids: Vec<&str> = providers.iter().map(|p| p.id.as_str()).collect();
    let mut text =
        format!("Generate an image.\n\nDescription: {}\n", given.get("description").unwrap_or_default());
    let mut line = |label: &str, value: &str| writeln!(text, "{label}: {value}").is_ok();
    match given.get("provider") {
        Some(provider) => line("Provider", provider),
        None => line("Provider", &format!("leave it out; the gateway chooses one of {}", ids.join(", "))),
    };
    for (label, name) in [("Style", "style"), ("Resolution", "resolution"), ("File prefix", "file_prefix")] {
        if let Some(value) = given.get(name) {
            line(label, value);
        }
    }
    text += "\nWhat there is to choose from, by provider:\n";
    for provider in &providers {
        let words = |of: &[(String, String)]| -> String {
            let all: Vec<String> = of.iter().map(|(id, label)| format!("{id} ({label})")).collect();
            if all.is_empty() { "none of its own".into() } else { all.join(", ") }
        };
        let (styles, sizes) = (words(&provider.styles), words(&provider.resolutions));
        text += &format!("- {}\n  styles: {styles}\n  resolutions: {sizes}\n", provider.id);
    }
    text + match call.profile {
        Profile::Job => {
            "\nCall the tool generate_image_and_wait with these values as arguments, and show the user image_url."
        }
        Profile::Blocking => {
            "\nCall the tool generate_image with these values as arguments, and show the user the image."
        }
    }
}

fn better(given: &Given<'_>) -> String {
    let mut text = format!(
        "Write a prompt for an image model from this idea: {}\n",
        given.get("idea").unwrap_or_default()
    );
    for (label, name) in [("It is for", "purpose"), ("Mood or look", "mood")] {
        if let Some(value) = given.get(name) {
            text += &format!("{label}: {value}\n");
        }
    }
    text + "\nIn 40 to 120 words and one paragraph, say in this order: the subject and what it does; surroundings and time of \
        day; composition and point of view; light; colours; medium or style. Name concrete things, no praise such as \
        \"beautiful\". Text that must appear in the image stands in quotation marks. Say what must be absent as \
        negative_prompt, not inside the prompt.\nShow me the prompt with a size that suits it, and call generate_image_and_wait \
        with it once I agree."
}

fn variations(given: &Given<'_>) -> String {
    let count = given.get("count").and_then(|n| n.parse::<u32>().ok()).unwrap_or(4).clamp(2, 10);
    format!(
        "Make {count} variations of: {}\n\nCall list_models and choose the cheapest model that is on; ask estimate_price what \
         {count} images cost and tell me. Then call generate_image with count {count} and a seed of your choice, and \
         wait_for_completion with all job ids. Show the links numbered, each with its seed, so that I can ask for one of them \
         again in a better quality.",
        given.get("description").unwrap_or_default()
    )
}

fn change(given: &Given<'_>) -> String {
    format!(
        "Change the image {} like this: {}\n\nCall list_models for a model that takes references. Call generate_image_and_wait with \
         this model, the image in `references`, and a prompt that says what shall be different and that all else stays as it is. \
         Show the user image_url.",
        given.get("image").unwrap_or_default(),
        given.get("change").unwrap_or_default()
    )
}
