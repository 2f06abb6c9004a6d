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

function forget(form) {
  const alert = form.querySelector(".alert");
  if (alert) { alert.remove(); }
}

// A file that is dropped beside the place would be opened by the browser, instead of the page: it counts as dropped there.
function drop(place) {
  const input = place && place.querySelector("input[type=file]");
  const isFile = (event) => event.dataTransfer.types.includes("Files");
  const isOther = (event) => event.target !== input && event.target.matches && event.target.matches("input[type=file]");
  const show = (is) => { if (place) { place.classList.toggle("over", is); } };
  const takes = (event) => {
    if (!isFile(event) || isOther(event)) { show(false); return false; }
    event.preventDefault();
    return true;
  };
  window.addEventListener("dragenter", (event) => { if (takes(event)) { show(true); } });
  window.addEventListener("dragover", (event) => {
    if (takes(event)) { show(true); event.dataTransfer.dropEffect = input ? "copy" : "none"; }
  });
  window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) { show(false); } });
  window.addEventListener("drop", (event) => {
    if (takes(event) && input) { take(input, event.dataTransfer); }
    show(false);
  });
}

function take(input, dropped) {
  const folder = [...dropped.items].map((one) => one.webkitGetAsEntry()).find((one) => one && one.isDirectory);
  if (folder) {
    tell(input.form, `"${folder.name}" is a folder. Drop the file itself.`);
  } else if (dropped.files.length !== 1) {
    tell(input.form, `These are ${dropped.files.length} files. Drop one: each is sent by itself.`);
  } else {
    forget(input.form);
    input.files = dropped.files;
  }
}

document.querySelectorAll("[data-live]").forEach(follow);
document.querySelectorAll("form[data-upload]").forEach(upload);
drop(document.querySelector("[data-drop]"));
document.querySelectorAll("form[data-once]").forEach((form) => {
  form.addEventListener("submit", () => setTimeout(() => form.querySelectorAll("button").forEach((one) => { one.disabled = true; }), 0));
});
window.addEventListener("pageshow", (event) => { if (event.persisted) { location.reload(); } });
