"""A FastAPI endpoint: does the uploaded photo show the person?

pip install ".[client]" fastapi python-multipart uvicorn
uvicorn --app-dir docs/examples/fastapi app:app
curl -F photo=@photo.jpg http://127.0.0.1:8000/people/jacinda/verify
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from fastapi import FastAPI, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse

from sameface.client import AsyncClient, NotAPhoto, ServiceError

ADDRESS = os.environ.get("SAMEFACE_ADDRESS", "127.0.0.1:50051")
GALLERY = os.environ.get("SAMEFACE_GALLERY", "staff")
MOST_BYTES = 16 << 20
STATUS = {grpc.StatusCode.INVALID_ARGUMENT: 422, grpc.StatusCode.NOT_FOUND: 404}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests, made in the loop that uses it."""
    async with AsyncClient(ADDRESS) as app.state.sameface:
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(ServiceError)
async def failed(request: Request, error: ServiceError) -> JSONResponse:
    """Tell what the person can mend. Whatever else fails is for the operator."""
    status = STATUS.get(error.code, 503)
    return JSONResponse({"reason": error.reason}, status, {"Retry-After": "1"} if status == 503 else None)


@app.exception_handler(NotAPhoto)
async def not_a_photo(request: Request, error: NotAPhoto) -> JSONResponse:
    """Answer as the service would: an empty file is not even sent to it."""
    return JSONResponse({"reason": error.reason}, 422)


@app.post("/people/{person}/verify")
async def verify(person: str, photo: UploadFile) -> dict[str, bool]:
    """Compare the photo with the person's templates."""
    if (photo.size or 0) > MOST_BYTES:
        raise HTTPException(413, f"the photo has more than {MOST_BYTES >> 20} MiB")
    answer = await app.state.sameface.verify(GALLERY, person, await photo.read())
    return {"matched": answer.matched}
