// Files of the form of a job: chosen or dropped, sent ahead with a bar, and named in the form by their digest. Without
// this script they go along with the form.
"use strict";

{
    const form = document.getElementById("submit");
    const send = document.getElementById("send");
    const csrf = form.elements.csrf.value;
    let underWay = 0;

    const size = (bytes) => bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;

    for (const drop of form.querySelectorAll("[data-drop]")) {
        const chosen = drop.querySelector("input[type=file]");
        const digest = drop.querySelector("[data-digest]");
        const bar = drop.querySelector("[data-bar]");
        const said = drop.querySelector("[data-said]");
        let request = null;
        drop.querySelector("[data-drop-hint]").hidden = false;
        // From here on the digest stands for the file.
        chosen.removeAttribute("name");

        const upload = (file) => {
            request?.abort();
            digest.value = "";
            bar.hidden = false;
            bar.value = 0;
            said.textContent = `${file.name}: sending`;
            const sending = request = new XMLHttpRequest();
            underWay += 1;
            send.disabled = true;
            const ended = () => {
                bar.hidden = true;
                underWay -= 1;
                send.disabled = underWay > 0;
            };
            sending.upload.addEventListener("progress", ({loaded, total}) => {
                bar.value = total ? loaded / total : 0;
                said.textContent = `${file.name}: ${size(loaded)} of ${size(total)}`;
            });
            sending.addEventListener("load", () => {
                ended();
                let answer = null;
                try { answer = JSON.parse(sending.responseText); } catch { /* A refusal is a page. */ }
                if (sending.status === 201 && answer) {
                    digest.value = `sha256:${answer.sha256}`;
                    const code = document.createElement("code");
                    code.className = "break";
                    code.textContent = answer.sha256;
                    said.replaceChildren(`${file.name}, ${size(answer.size)}, SHA-256 `, code);
                    chosen.setCustomValidity("");
                } else {
                    failed(sending.status === 507 ? "there is no room for it on the server's disk" : sending.status === 413 ? "it is larger than the server takes" : sending.status === 403 ? "the page is too old; load it again" : `the server refused it (${sending.status})`);
                }
            });
            sending.addEventListener("error", () => { ended(); failed("the server does not answer"); });
            sending.addEventListener("abort", ended);
            const failed = (why) => {
                said.textContent = `${file.name} was not sent: ${why}.`;
                chosen.value = "";
            };
            sending.open("POST", "/uploads");
            sending.setRequestHeader("X-Csrf-Token", csrf);
            sending.setRequestHeader("Content-Type", "application/octet-stream");
            sending.send(file);
        };

        chosen.addEventListener("change", () => {
            if (chosen.files.length) return upload(chosen.files[0]);
            request?.abort();
            [digest.value, said.textContent] = ["", ""];
        });
        // A browser that leads back to the form keeps its fields, but not the bytes of a file.
        if (chosen.files.length && !digest.value) upload(chosen.files[0]);
        drop.addEventListener("dragover", (event) => {
            event.preventDefault();
            drop.classList.add("over");
        });
        drop.addEventListener("dragleave", () => drop.classList.remove("over"));
        drop.addEventListener("drop", (event) => {
            event.preventDefault();
            drop.classList.remove("over");
            if (!event.dataTransfer.files.length) return;
            // So that the field shows its name, and counts as filled in.
            chosen.files = event.dataTransfer.files;
            upload(chosen.files[0]);
        });
    }
    // A file that misses its place would take the browser away from the form.
    for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
    form.querySelector("[data-wrong] input:not([type=hidden]), [data-wrong] select, [data-wrong] textarea")?.focus();
}
