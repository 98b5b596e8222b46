// For browsers and places in which the page's modules do not even begin: says so, in words that any browser runs.
(function () {
  function say(text) {
    document.addEventListener("DOMContentLoaded", function () {
      var box = document.getElementById("error");
      box.textContent = text;
      box.hidden = false;
      document.documentElement.setAttribute("data-state", "failed");
    });
  }
  var single = document.documentElement.hasAttribute("data-single");
  var modern = typeof HTMLScriptElement !== "undefined" && HTMLScriptElement.supports && HTMLScriptElement.supports("importmap");
  if (location.protocol === "file:" && !single) {
    say("Browsers do not run this folder from a disk. Serve it, for example by `python -m http.server` in the folder, or export the page with --single-file, which opens by double click.");
  } else if (!modern) {
    say("This browser is too old for this page: it needs Chrome or Edge 105, Firefox 108, Safari 16.4, or a later one.");
  }
})();
