"use strict";
fetch("health").then((reply) => reply.json()).then((health) => {
  document.getElementById("state").textContent =
    health.status === "ok" ? "The pack is loaded." : health.error.message;
});
