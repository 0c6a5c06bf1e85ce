//! The tools by name, in the order they are listed, and what clients are told about each.

use super::{
    blocking,
    schema::{self, InputSchema, Offer},
};
use crate::{
    auth::Scope,
    mcp::{Inner, apps, call::Call, tasks::Form},
};
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    ListModels,
    EstimatePrice,
    GenerateImage,
    GenerateImageAndWait,
    GetJobStatus,
    WaitForCompletion,
    ListGenerations,
    ListJobs,
    GetImageData,
    CancelJob,
    DeleteImage,
    EditImage,
    CreateUpload,
    GetQuota,
    GetUsage,
    ReloadConfig,
}

/// What calling a tool changes.
#[derive(PartialEq, Eq)]
enum Effect {
    Reads,
    /// Spends money at a vendor.
    Makes,
    Stops,
    Deletes,
    /// Takes something in.
    Takes,
    /// Reads what was used and what is left.
    Counts,
    /// The gateway itself: operators only.
    Governs,
}

impl Tool {
    /// In the order of the list: a tool that only reads and needs no argument comes first, because some clients
    /// try out the first one.
    pub const ALL: [Tool; 16] = [
        Tool::ListModels,
        Tool::EstimatePrice,
        Tool::GenerateImage,
        Tool::GenerateImageAndWait,
        Tool::GetJobStatus,
        Tool::WaitForCompletion,
        Tool::ListGenerations,
        Tool::ListJobs,
        Tool::GetImageData,
        Tool::CancelJob,
        Tool::DeleteImage,
        Tool::EditImage,
        Tool::CreateUpload,
        Tool::GetQuota,
        Tool::GetUsage,
        Tool::ReloadConfig,
    ];

    pub fn find(name: &str) -> Option<Tool> {
        Tool::ALL.into_iter().find(|tool| tool.name() == name)
    }

    pub const fn name(self) -> &'static str {
        self.about().0
    }

    pub const fn description(self) -> &'static str {
        self.about().2
    }

    pub fn scope(self) -> Scope {
        match self.about().3 {
            Effect::Reads => Scope::ImagesRead,
            Effect::Makes | Effect::Stops | Effect::Deletes | Effect::Takes => Scope::ImagesWrite,
            Effect::Counts => Scope::UsageRead,
            Effect::Governs => Scope::Admin,
        }
    }

    /// Whether it spends money at a vendor. Only then there is something to wait for.
    pub fn makes(self) -> bool {
        self.about().3 == Effect::Makes
    }

    /// Name, title, description for the model that calls it, effect.
    const fn about(self) -> (&'static str, &'static str, &'static str, Effect) {
        match self {
            Tool::ListModels => (
                "list_models",
                "List image models",
                "The image models you may use: which are on, their sizes, styles, limits and prices.",
                Effect::Reads,
            ),
            Tool::EstimatePrice => (
                "estimate_price",
                "Estimate the price",
                "What a generation would cost and whether it would be accepted. Nothing is generated.",
                Effect::Reads,
            ),
            Tool::GenerateImage => (
                "generate_image",
                "Generate images",
                "Start 1 to 20 images from a prompt and return job ids at once. Then call wait_for_completion with \
                 them. For a single image prefer generate_image_and_wait.",
                Effect::Makes,
            ),
            Tool::GenerateImageAndWait => (
                "generate_image_and_wait",
                "Generate images and wait",
                "Generate 1 to 20 images from a prompt and return them when they are done. If the answer says it is \
                 still running, call wait_for_completion with its job id; never generate again for it.",
                Effect::Makes,
            ),
            Tool::GetJobStatus => (
                "get_job_status",
                "Get a job's status",
                "Where one job stands now, without waiting. To wait, use wait_for_completion instead of polling.",
                Effect::Reads,
            ),
            Tool::WaitForCompletion => (
                "wait_for_completion",
                "Wait for jobs",
                "Wait until one job (job_id) or several (job_ids) have ended and return their images. May answer \
                 that they are still running: then call it again.",
                Effect::Reads,
            ),
            Tool::ListGenerations => (
                "list_generations",
                "List finished images",
                "Finished images, newest first, with their links.",
                Effect::Reads,
            ),
            Tool::ListJobs => (
                "list_jobs",
                "List jobs",
                "Jobs, newest first, also waiting and failed ones. Use it to find a job whose id was lost.",
                Effect::Reads,
            ),
            Tool::GetImageData => (
                "get_image_data",
                "Get an image",
                "A stored image itself, to look at it. Its link is in the answer too.",
                Effect::Reads,
            ),
            Tool::CancelJob => (
                "cancel_job",
                "Cancel a job",
                "Stop a job that has not been sent to its vendor yet. Work that is already paid for is finished and kept.",
                Effect::Stops,
            ),
            Tool::DeleteImage => (
                "delete_image",
                "Delete an image",
                "Delete a stored image for good, with its previews and links. Only when the user asks for it.",
                Effect::Deletes,
            ),
            Tool::EditImage => (
                "edit_image",
                "Change images",
                "Make images from other images: pass image ids, upload:// handles or https URLs as references and say \
                 in the prompt what to change. Returns job ids at once, as generate_image does.",
                Effect::Makes,
            ),
            Tool::CreateUpload => (
                "create_upload",
                "Get an upload link",
                "A link for one PUT of an image from outside, to use as a reference or mask afterwards.",
                Effect::Takes,
            ),
            Tool::GetQuota => (
                "get_quota",
                "Get what is left",
                "The limits of your team and key: what is used and left, and when each starts anew.",
                Effect::Counts,
            ),
            Tool::GetUsage => (
                "get_usage",
                "Get what was used",
                "Your team's images, spend and failures. Jobs without an image are forgotten after a time.",
                Effect::Counts,
            ),
            Tool::ReloadConfig => (
                "reload_config",
                "Reload the configuration",
                "Read the gateway's configuration file, variables and secrets again, and say what changed. With a \
                 mistake in them nothing is changed.",
                Effect::Governs,
            ),
        }
    }
}

/// The result of `tools/list`.
#[derive(Serialize)]
pub struct ToolList {
    tools: Vec<Listed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    input_schema: InputSchema,
    output_schema: Value,
    annotations: Annotations,
    /// Only of tools that can be tasks, for clients that have to ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Execution>,
    /// For clients that render the page that shows its result.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<apps::ToolMeta>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Execution {
    task_support: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    read_only_hint: bool,
    destructive_hint: bool,
    idempotent_hint: bool,
    open_world_hint: bool,
}

/// The tools this caller may use.
pub fn mine(inner: &Inner, call: &Call) -> Vec<Tool> {
    let mine = |tool: &Tool| inner.offers(call, tool.name()) && call.principal.may(tool.scope());
    Tool::ALL.into_iter().filter(mine).collect()
}

/// Their list.
pub fn list(inner: &Inner, call: &Call, mine: &[Tool]) -> ToolList {
    let offer = Offer::new(inner.backend.models(&call.owner()), inner.wait_ceiling(call, 1));
    let tasks = Form::of(call) == Some(Form::Core);
    // Where no model takes references there is nothing to edit with.
    let useful =
        |tool: &Tool| !matches!(tool, Tool::EditImage | Tool::CreateUpload) || offer.takes_references();
    let listed = |tool: Tool| {
        let (name, title, usual, effect) = tool.about();
        let own = blocking::answers(call, tool);
        Listed {
            name,
            title,
            description: if own { blocking::description(tool) } else { usual },
            input_schema: schema::input(tool, &offer),
            output_schema: if own { schema::blocking() } else { schema::output(tool) },
            annotations: Annotations {
                read_only_hint: matches!(effect, Effect::Reads | Effect::Counts),
                destructive_hint: matches!(effect, Effect::Stops | Effect::Deletes | Effect::Governs),
                idempotent_hint: effect != Effect::Makes,
                open_world_hint: effect == Effect::Makes,
            },
            execution: (tasks && tool.makes()).then_some(Execution { task_support: "optional" }),
            meta: call.peer.apps.then(|| apps::shown(tool, call.profile)).flatten(),
        }
    };
    ToolList { tools: mine.iter().copied().filter(useful).map(listed).collect() }
}
