#!/usr/bin/env python3
"""A labrun worker in standard-library Python: takes free jobs of the template peak_finder and finds the peaks.

    LABRUN_PASSWORD=... python3 worker.py         also: LABRUN_URL, LABRUN_USER; --once to stop when no job is free"""
import base64, csv, hashlib, json, os, socket, sys, time
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen
URL, USER = os.environ.get("LABRUN_URL", "http://127.0.0.1:8000"), os.environ.get("LABRUN_USER", "admin")
session = {}  # the headers that every call carries

def call(path, body=None, raw=None, method="POST", **headers):
    """Sends JSON, or raw bytes, and gives the JSON of the answer; logs in again when the token has run out."""
    data = json.dumps(body or {}).encode() if raw is None else raw
    headers = {"Content-Type": "application/json", **session, **headers}
    try:
        with urlopen(Request(URL + "/v1" + path, data if method != "GET" else None, headers, method=method)) as answer:
            return json.load(answer) if answer.status != 204 else None
    except HTTPError as error:
        error.msg = json.load(error)["detail"]
        if path == "/auth/obtain" and error.code in (400, 401, 429): sys.exit(f"{USER} can't log in: {error.msg} Set LABRUN_USER and LABRUN_PASSWORD.")
        if error.code != 401: raise
    except URLError as error:
        if session: raise
        sys.exit(f"{URL} does not answer: {error.reason}. Is labrun running there? LABRUN_URL says where.")
    session["Authorization"] = "Bearer " + call("/auth/obtain", {"username": USER, "password": os.environ.get("LABRUN_PASSWORD", "")})["access"]
    return call(path, body, raw, method, **{**headers, **session})

def upload(path, data, piece=64 << 20):
    """Adds an output: whole, or, if it is large, in pieces (tus 1.0.0) that go on where a broken connection left off."""
    digest, tus = hashlib.sha256(data), {"Tus-Resumable": "1.0.0"}
    if len(data) <= piece:
        return call(path, raw=data, **{"Content-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"})
    announced = "sha256 " + base64.b64encode(digest.hexdigest().encode()).decode()
    begun = call(path, raw=b"", **tus, **{"Upload-Length": str(len(data)), "Upload-Metadata": announced})
    place, done, tries = f"/uploads/{begun['pk']}", begun["received"], 0
    while done < len(data):
        try:
            done = call(place, method="GET")["received"]
            call(place, raw=data[done:done + piece], method="PATCH", **tus, **{
                "Upload-Offset": str(done), "Content-Type": "application/offset+octet-stream"})
            done, tries = done + len(data[done:done + piece]), 0
        except (OSError, HTTPException) as error:  # busy with the call that broke off, or away for a while
            tries += 1
            if tries > 20 or isinstance(error, HTTPError) and error.code not in (409, 423, 503): raise
            time.sleep(min(2 ** tries / 10, 10))

def peaks(path, least=1.5):
    """Yields time and absorbance of each reading that is the highest within 0.2 min and stands out by `least` mAU."""
    with open(path, newline="") as file:
        rows = [(float(row["time_min"]), float(row["absorbance_mau"])) for row in csv.DictReader(file)]
    half = max(1, round(0.2 / (rows[1][0] - rows[0][0])))  # readings in 0.2 min
    for i in range(half, len(rows) - half):
        near = [height for _, height in rows[i - half:i + half + 1]]
        if near[half] == max(near) and near[half] - max(near[0], near[-1]) >= least:
            yield rows[i]

def work(job):
    path, result = f"/jobs/{job['pk']}", {}
    try:
        call(path + "/start")
        table = "time_min,absorbance_mau\n" + "".join(f"{t},{y}\n" for t, y in peaks(job["input_values"]["chromatogram"]["value"]))
        call(path + "/progress/0.9", {"step": "found the peaks"})
        upload(path + "/outputs/peaks/" + quote("BLOB<'csv'>"), table.encode())
    except Exception as error:
        result = {"success": False, "error": f"{type(error).__name__}: {error}"}
    print(f"job {job['pk']}:", call(path + "/finish", result)["phase"], *result.values(), flush=True)

me = {"ip": socket.gethostname()[:39], "index": int(os.environ.get("LABRUN_NODE_INDEX", "0"))}
exact = lambda field, value: {"type": "exact", "field": field, "value": value}
known = call("/nodes/list", {"expressions": [exact(field, value) for field, value in me.items()]})
session["Node-Id"] = str((known or [call("/nodes/create", {**me, "cpu_mem": 8 << 30})])[0]["pk"])
free = [exact("phase", "created"), exact("template.name", "peak_finder"), {"type": "isnull", "field": "node"}]
while True:
    for job in (jobs := call("/jobs/list", {"expressions": free, "limit": 10})):
        try:
            work(call(f"/jobs/{job['pk']}/acquire"))
        except HTTPError as error:
            if error.code != 406: raise  # on 406 another worker was faster
    if not jobs and "--once" in sys.argv: break
    time.sleep(0 if jobs else 2)
