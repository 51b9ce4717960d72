//! The page and the documentation: served by us alone, kept by the browser, nothing from elsewhere.

use crate::served::{answer, served};

#[tokio::test]
async fn the_page_is_at_its_paths_and_nowhere_else() {
    let served = served().await;
    let page = answer(served.bare("GET", "/")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    assert!(page.text.contains("<textarea"));
    assert!(!page.text.contains("<script>") && !page.text.contains("style="));
    for path in ["/?session=s_a", "/runs/run_01h455vb4pex5vsknk084sn02q"] {
        assert_eq!(answer(served.bare("GET", path)).await.text, page.text);
    }
    for path in ["/runs", "/runs/", "/runs/a/b", "/index.html", "/apiary", "/.env", "/wp-login.php"]
    {
        let absent = answer(served.bare("GET", path)).await;
        assert_eq!(absent.status, 404, "{path}");
        assert!(absent.header("content-type").starts_with("text/plain"), "{path}");
    }
    for (path, content_type) in [
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let file = answer(served.bare("GET", path)).await;
        assert_eq!((file.status, file.header("content-type")), (200, content_type));
        let again = served.bare("GET", path).header("if-none-match", file.header("etag"));
        let again = answer(again).await;
        assert_eq!((again.status, &*again.text), (304, ""));
    }
    assert_eq!(answer(served.bare("HEAD", "/")).await.text, "");
}

#[tokio::test]
async fn the_documentation_needs_nobody_else() {
    let served = served().await;
    let docs = answer(served.bare("GET", "/docs")).await;
    assert_eq!(docs.status, 200);
    assert!(docs.header("content-type").starts_with("text/html"));
    assert!(!docs.text.contains("http://") && !docs.text.contains("https://"), "{}", docs.text);
    let document = answer(served.bare("GET", "/openapi.json")).await;
    assert_eq!(document.header("content-type"), "application/json");
    assert!(document.expect(200)["openapi"].as_str().unwrap().starts_with("3.1"));
}
