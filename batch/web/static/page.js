// What a page without scripts does by being loaded again: live progress, an upload's bar, and a file that is dropped.
"use strict";

function follow(place) {
  const question = place.dataset.question;
  let source = null;
  const open = () => {
    source = new EventSource(place.dataset.live);
    source.onmessage = (event) => {
      const now = JSON.parse(event.data);
      if (now.is_over || String(now.question) !== question) {
        source.close();
        location.reload();
      } else if (now.question === 0) {
        place.innerHTML = now.part; // escaped by the server, as every page is
      }
    };
  };
  const close = () => { if (source) { source.close(); source = null; } };
  // a browser opens few connections to one host: windows that nobody sees leave them to the others
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : source || open()));
  if (!document.hidden) { open(); }
}

function upload(form) {
  const bar = form.querySelector("progress");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();
    const buttons = form.querySelectorAll("button");
    buttons.forEach((one) => { one.disabled = true; });
    bar.hidden = false;
    request.upload.onprogress = (now) => { if (now.lengthComputable) { bar.value = (100 * now.loaded) / now.total; } };
    request.onload = () => {
      if (request.status === 200 && request.responseURL && request.responseURL !== location.href) {
        location.assign(request.responseURL);
      } else {
        const answer = new DOMParser().parseFromString(request.responseText, "text/html");
        const said = answer.querySelector(".alert");
        tell(form, said ? said.textContent : request.responseText);
        done();
      }
    };
    request.onerror = () => { tell(form, "The upload was broken off. Is batch still open, and is the file still there?"); done(); };
    const done = () => { buttons.forEach((one) => { one.disabled = false; }); bar.hidden = true; };
    request.open("POST", form.action);
    request.send(new FormData(form));
  });
}

function tell(form, text) {
  let alert = form.querySelector(".alert");
  if (!alert) {
    alert = document.createElement("div");
    alert.className = "alert";
    alert.setAttribute("role", "alert");
    form.prepend(alert);
  }
  alert.textContent = text;
  alert.scrollIntoView({ block: "nearest" });
}

function drop(place) {
  const input = place.querySelector("input[type=file]");
  const over = (event, is) => { event.preventDefault(); place.classList.toggle("over", is); };
  place.addEventListener("dragover", (event) => over(event, true));
  place.addEventListener("dragleave", (event) => over(event, false));
  place.addEventListener("drop", (event) => {
    over(event, false);
    if (event.dataTransfer.files.length) { input.files = event.dataTransfer.files; }
  });
}

document.querySelectorAll("[data-live]").forEach(follow);
document.querySelectorAll("form[data-upload]").forEach(upload);
document.querySelectorAll("[data-drop]").forEach(drop);
document.querySelectorAll("form[data-once]").forEach((form) => {
  form.addEventListener("submit", () => setTimeout(() => form.querySelectorAll("button").forEach((one) => { one.disabled = true; }), 0));
});
window.addEventListener("pageshow", (event) => { if (event.persisted) { location.reload(); } });
