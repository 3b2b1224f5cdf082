// Before the first paint: the theme that was chosen last. A script of its own, since a module would come after it.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("weir.theme");
  } catch {
    // Without storage it is the system's.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
