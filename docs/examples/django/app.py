"""A Django form: does the uploaded photo show the person?

pip install ".[client]" django
python docs/examples/django/app.py runserver
"""

import functools
import os
import sys

import grpc
from django import forms
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.management.utils import get_random_secret_key
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

from sameface.client import Client, NotAPhoto, ServiceError

ADDRESS = os.environ.get("SAMEFACE_ADDRESS", "127.0.0.1:50051")
GALLERY = os.environ.get("SAMEFACE_GALLERY", "staff")
MOST_BYTES = 16 << 20
PAGE = """<!doctype html><title>Who are you?</title>
<form method="post" enctype="multipart/form-data">{% csrf_token %}{{ form.as_p }}<button>Verify</button></form>
{% if said %}<p>{{ said }}</p>{% endif %}"""

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "testserver"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key(),
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)


class Claim(forms.Form):
    """Who somebody says they are, and a photo."""

    person = forms.CharField(max_length=200)
    photo = forms.FileField()

    def clean_photo(self) -> object:
        """Refuse a file before it is sent on."""
        photo = self.cleaned_data["photo"]
        if photo.size > MOST_BYTES:
            raise forms.ValidationError(f"the photo has more than {MOST_BYTES >> 20} MiB")
        return photo


@functools.cache
def sameface() -> Client:
    """Return the client of this process. It is made with the first request: after the server has forked."""
    return Client(ADDRESS)


def verify(request: HttpRequest) -> HttpResponse:
    """Show the form, and whether the photo shows the person."""
    form, said, status = Claim(request.POST or None, request.FILES or None), "", 200
    if form.is_valid():
        try:
            answer = sameface().verify(GALLERY, form.cleaned_data["person"], form.cleaned_data["photo"].read())
            said = "Welcome." if answer.matched else "This is somebody else."
        except (ServiceError, NotAPhoto) as error:
            ours = isinstance(error, ServiceError) and error.code == grpc.StatusCode.UNAVAILABLE
            said, status = ("Come again later.", 503) if ours else (error.reason, 422)
    elif request.method == "POST":
        status = 422
    page = engines["django"].from_string(PAGE).render({"form": form, "said": said}, request)
    return HttpResponse(page, status=status)


urlpatterns = [path("", verify)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
