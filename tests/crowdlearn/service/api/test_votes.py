"""Votes over HTTP."""

from tests.crowdlearn.service.api.conftest import BIRDS, Place


def test_smoke(place: Place, admin) -> None:
    print(admin.get("/v1/projects").text)
    print(admin.get("/healthz").text, admin.get("/readyz").text)
    print(admin.get(f"/v1/projects/{BIRDS}/items", params={"limit": 2}).text)
    r = admin.post(
        f"/v1/projects/{BIRDS}/votes/stream",
        content=b'{"item":"a","worker":"b","label":"no"}\n{"item":"a","worker":"b","label":"nope"}\n',
    )
    print(r.status_code, r.text)
    print(admin.get(f"/v1/projects/{BIRDS}/item/view", params={"name": "birds-1"}).text)
    print(admin.get("/nothing").text, admin.get("/v1/nothing").text)
    print(place.client(None).get("/v1/projects").text)
    import json

    d = admin.get("/openapi.json").json()
    print(len(d["paths"]), json.dumps(d["paths"]["/v1/projects/{project}/votes"])[:1500])
