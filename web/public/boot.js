// Before the first paint: language and theme, so that nothing flashes. The settings are those that
// src/preferences.ts keeps.
(() => {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem("openintern.preferences")) ?? {};
  } catch {
    // Nothing is kept, or nothing may be.
  }
  const dark =
    kept.theme === "dark" ||
    (kept.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.classList.toggle("dark", dark);
  const chinese = kept.language ? kept.language === "zh-CN" : navigator.language.startsWith("zh");
  document.documentElement.lang = chinese ? "zh-CN" : "en";
})();
