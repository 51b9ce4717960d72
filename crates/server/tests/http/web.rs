//! The page and the documentation: served by us alone, nothing from elsewhere. What the page does is
//! tested in a browser, on a build that has it.

use crate::served::{answer, served};

#[tokio::test]
async fn the_page_is_at_its_paths_and_nowhere_else() {
    let served = served().await;
    let page = answer(served.bare("GET", "/")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self'; ") && !policy.contains("unsafe"));
    assert!(!page.text.contains("<script>") && !page.text.contains("style="));
    for path in
        ["/?session=s_a", "/runs/run_1", "/runs", "/memory?q=1", "/sessions/a.b", "/settings"]
    {
        assert_eq!(answer(served.bare("GET", path)).await.text, page.text, "{path}");
    }
    for path in ["/apiary", "/.env", "/wp-login.php", "/assets/index-0000.js", "/../Cargo.toml"] {
        let absent = answer(served.bare("GET", path)).await;
        assert_eq!(absent.status, 404, "{path}");
        assert!(absent.header("content-type").starts_with("text/plain"), "{path}");
    }
    assert_eq!(answer(served.bare("HEAD", "/")).await.text, "");
    assert_eq!(answer(served.bare("POST", "/")).await.status, 405);
}

#[tokio::test]
async fn the_documentation_needs_nobody_else() {
    let served = served().await;
    let docs = answer(served.bare("GET", "/docs")).await;
    assert_eq!(docs.status, 200);
    assert!(docs.header("content-type").starts_with("text/html"));
    assert_eq!(docs.header("content-security-policy"), "frame-ancestors 'none'");
    assert!(!docs.text.contains("http://") && !docs.text.contains("https://"), "{}", docs.text);
    let document = answer(served.bare("GET", "/openapi.json")).await;
    assert_eq!(document.header("content-type"), "application/json");
    assert!(document.expect(200)["openapi"].as_str().unwrap().starts_with("3.1"));
}
