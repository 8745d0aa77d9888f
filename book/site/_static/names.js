// Buttons that show only a sign say in words what they do.
window.addEventListener("load", () => {
  document.querySelectorAll("button.copybtn").forEach((button) => button.setAttribute("aria-label", "Copy this code"));
  document.querySelectorAll("nav.bd-links summary").forEach((sign) => {
    sign.setAttribute("aria-label", `Pages of: ${sign.closest("li").querySelector("a").textContent.trim()}`);
  });
});
