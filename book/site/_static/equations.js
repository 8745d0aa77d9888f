// An equation of this page appears beside a reference to it, under the pointer or the keyboard's focus.
document.addEventListener("DOMContentLoaded", () => {
  let preview = null;
  const hide = () => { preview?.remove(); preview = null; };
  document.querySelectorAll('a.reference[href^="#equation-eq-"]').forEach((link) => {
    const show = () => {
      const equation = document.getElementById(link.hash.slice(1));
      if (!equation) return;
      hide();
      preview = equation.cloneNode(true);
      preview.removeAttribute("id");
      preview.classList.add("equation-preview");
      preview.setAttribute("aria-hidden", "true");
      preview.querySelectorAll("a").forEach((inner) => inner.setAttribute("tabindex", "-1"));
      document.body.append(preview);
      const box = link.getBoundingClientRect();
      preview.style.top = `${window.scrollY + box.bottom + 6}px`;
      preview.style.left = `${Math.max(8, Math.min(window.scrollX + box.left, window.innerWidth - preview.offsetWidth - 8))}px`;
    };
    link.addEventListener("mouseenter", show);
    link.addEventListener("focus", show);
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  });
});
