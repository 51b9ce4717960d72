//! What an organisation may keep in its workspaces: new runs at the edge of it.

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Duration};

use protocol::scope::Scope;
use reqwest::header::RETRY_AFTER;
use serde_json::json;
use server::settings::{ServerSettings, TenantLimits};
use workspaces::{folder, quota::Measuring};

use crate::served::{Answer, PATIENCE, Served, answer, served_with};

const BYTES_MAX: u64 = 1000;
const ENTRIES_MAX: usize = 9;

/// A server that believes for so long what it has found.
async fn served_keeping(kept_for: Duration) -> Served {
    let tenants = TenantLimits { workspace_bytes_per_org: BYTES_MAX, ..TenantLimits::default() };
    let measuring = Measuring { entries_max: ENTRIES_MAX, kept_for, rest: 0, wait_max: PATIENCE };
    served_with(ServerSettings { tenants, measuring, ..ServerSettings::default() }).await
}

/// A server that looks again for each request.
async fn served() -> Served {
    served_keeping(Duration::ZERO).await
}

impl Served {
    /// The folder of a scope; now it is there.
    fn workspace(&self, org: &str, user: &str, project: Option<&str>) -> PathBuf {
        let scope = Scope {
            org_id: org.parse().unwrap(),
            user_id: user.parse().unwrap(),
            project_id: project.map(|name| name.parse().unwrap()),
        };
        let folder = folder::of_scope(self.workspaces.path(), &scope);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    async fn create_for(&self, org: &str) -> Answer {
        let request = self.bare("POST", "/api/runs").header("x-org-id", org);
        answer(request.header("x-user-id", "user_a").json(&json!({"input": "x"}))).await
    }
}

/// What a refused creation says.
#[track_caller]
fn over(answer: Answer) -> String {
    answer.refused(429, "quota_exceeded")["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn exactly_the_bound_comes_through_and_one_byte_more_does_not() {
    let served = served().await;
    served.create_for("org_a").await.expect(201);
    let other_project = served.workspace("org_a", "user_z", Some("p")).join("部分");
    fs::write(&other_project, [0; 400]).unwrap();
    fs::write(served.workspace("org_a", "user_a", None).join("rest"), [0; 600]).unwrap();
    served.create_for("org_a").await.expect(201);

    fs::write(&other_project, [0; 401]).unwrap();
    let refused = served.create_for("org_a").await;
    assert_eq!(refused.headers[RETRY_AFTER], "1");
    let hint = refused.json()["error"]["hint"].to_string();
    assert!(hint.contains("remove files, or raise `limits.workspace_bytes_per_org`"), "{hint}");
    let words = over(refused);
    assert!(words.contains("1001 bytes") && words.contains("1000 are allowed"), "{words}");
    let runs = served.get("/api/runs").await.expect(200);
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2), "none was created");

    served.workspace("org_b", "user_a", None);
    served.create_for("org_b").await.expect(201);
    served.create_for("org_c").await.expect(201);
    over(served.create_for("org_a").await);
    fs::remove_file(&other_project).unwrap();
    served.create_for("org_a").await.expect(201);
}

#[tokio::test]
async fn a_run_that_was_created_before_goes_on_and_is_answered_again() {
    let served = served().await;
    let create = |key: &str| {
        let request = served.ask("POST", "/api/runs").header("idempotency-key", key);
        answer(request.json(&json!({"input": "任务"})))
    };
    let created = create("before").await.expect(201);
    let mut work = served.work().await;
    work.start().await;
    fs::write(served.workspace("org_a", "user_a", None).join("f"), [0; 1001]).unwrap();
    over(create("new").await);
    let again = create("before").await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(201)["run_id"], created["run_id"]);
    work.complete("完成").await;
    let path = format!("/api/runs/{}", created["run_id"].as_str().unwrap());
    assert_eq!(served.get(&path).await.expect(200)["status"], "completed");
}

#[tokio::test]
async fn what_lies_behind_links_counts_nothing() {
    let served = served().await;
    let outside = tempfile::tempdir().unwrap();
    fs::File::create(outside.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    let workspace = served.workspace("org_a", "user_a", None);
    symlink(outside.path(), workspace.join("folder")).unwrap();
    symlink(outside.path().join("huge"), workspace.join("file")).unwrap();
    served.create_for("org_a").await.expect(201);
    fs::rename(outside.path().join("huge"), workspace.join("moved")).unwrap();
    over(served.create_for("org_a").await);
}

#[tokio::test]
async fn files_and_folders_are_bounded_in_number() {
    let served = served().await;
    let workspace = served.workspace("org_a", "user_a", None);
    // The folders of the user and of no project count, too.
    for name in 2..ENTRIES_MAX {
        fs::write(workspace.join(name.to_string()), "").unwrap();
    }
    served.create_for("org_a").await.expect(201);
    fs::write(workspace.join("one more"), "").unwrap();
    let words = over(served.create_for("org_a").await);
    assert!(words.contains("more than 9 files and folders"), "{words}");
}

#[tokio::test]
async fn it_is_measured_again_when_the_refusal_says() {
    let served = served_keeping(Duration::from_secs(3600)).await;
    let file = served.workspace("org_a", "user_a", None).join("f");
    fs::write(&file, [0; 1001]).unwrap();
    over(served.create_for("org_a").await);
    fs::remove_file(file).unwrap();
    let refused = served.create_for("org_a").await;
    let wait_s: u64 = refused.header("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&wait_s), "{wait_s}");
    over(refused);
}
