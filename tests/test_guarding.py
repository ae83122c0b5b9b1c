"""Where URLs of strangers lead, over real sockets: a stubbed resolver and a server on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from requests_hardened.ip_filter import filter_host

from config import Config
from image_generator import ImageGenerator
from image_io import source_images
from image_io.guarding import OPEN_PORTS, InvalidIPAddress, open_hosts
from image_io.http import MAX_REDIRECTS, HttpSession
from image_io.source_images import FROM_SETTINGS, as_hosts, load_source
from image_provider import (
    ImageGenerationError,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from tests.hosted_support import PICTURE
from tests.web_support import PUBLIC, Web, moved, web, whole

assert web  # the fixture

NOT_PUBLIC = "is not on the public internet"


@pytest.fixture(autouse=True)
def picture_everywhere(web: Web) -> None:
    web.answer = lambda place: whole(PICTURE)


def refusal(url: str, **options: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        load_source(url, roots=(), **options)
    return str(caught.value)


# Addresses


NOT_PUBLIC_HOSTS = """
    127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1
    169.254.169.254 169.254.170.2 168.63.129.16 100.64.0.1 100.100.100.200 100.127.255.254
    192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
    239.255.255.250 240.0.0.1 255.255.255.255 [::1] [::] [::127.0.0.1] [::10.0.0.1]
    [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:a9fe:a9fe] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1]
    [64:ff9b:1::a00:1] [2002:7f00:1::] [2001:0:7f00:1::] [2001:db8::1] [2001:10::1] [2001:20::1]
    [fc00::1] [fd00:ec2::254] [fe80::1] [fec0::1] [ff02::1] [100::1] [5f00::1] [3fff::1]
    [4000::1]
"""


def test_a_refused_address_is_told_of_once(caplog):
    assert NOT_PUBLIC in refusal("http://127.0.0.1/a.png")
    assert not caplog.records
    with pytest.raises(InvalidIPAddress):  # as by a program that uses the same library
        filter_host("127.0.0.1", 80, allow_loopback=False)
    assert "requests_hardened" in caplog.records[0].name


@pytest.mark.parametrize("host", NOT_PUBLIC_HOSTS.split())
def test_address_that_is_not_public_is_refused(web, host):
    for url in (f"http://{host}/a.png", f"https://{host}/a.png", f"http://{host}:{web.port}/a"):
        message = refusal(url)
        assert NOT_PUBLIC in message
        assert "IMAGE_SOURCE_HOSTS" in message
    assert web.dialled == []


ODD_HOSTS = """
    127.1 2130706433 0x7f000001 0x7f.1 017700000001 0177.0.0.1 0 10.1 3232235521 0xa9fea9fe
    2852039166 0251.0376.0251.0376 127.0.0.1. 127.0.0.1%00 %31%32%37.1 [fe80::1%25lo] [::1%25lo]
    [127.0.0.1] 256.256.256.256 a..b . １２７.０.０.１ ①②⑦.⓪.⓪.① 127。0。0。1 ｌｏｃａｌｈｏｓｔ
"""


@pytest.mark.parametrize("host", ODD_HOSTS.split())
def test_odd_way_to_write_a_host_leads_nowhere(web, host):
    """Systems differ in which of them they read as a number, and as which."""
    for url in (f"http://{host}/a.png", f"http://{host}:{web.port}/a.png"):
        with pytest.raises(ImageGenerationError):
            load_source(url, roots=())
    assert web.dialled == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost."])
def test_name_of_this_machine_is_refused(web, host):
    assert NOT_PUBLIC in refusal(f"http://{host}:{web.port}/a.png")
    assert web.dialled == []


@pytest.mark.parametrize(
    "url",
    [
        "http://public.example@127.0.0.1:{port}/",
        "http://public.example:80@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@public.example/",
        "http://127.0.0.1:{port}#@public.example/",
        "HTTP://127.0.0.1:{port}/",
        " http://127.0.0.1:{port}/",
    ],
)
def test_the_host_that_is_judged_is_the_one_that_a_connection_goes_to(web, url):
    assert NOT_PUBLIC in refusal(url.format(port=web.port))
    assert web.dialled == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.1.2.3"],
        ["127.0.0.1", PUBLIC],
        ["::1", PUBLIC],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["100.64.1.1"],
        ["169.254.169.254"],
        ["0.0.0.0"],
        ["fd00::1"],
    ],
)
def test_name_of_an_address_that_is_not_public_is_refused(web, addresses):
    web.names["evil.example"] = [addresses]
    assert NOT_PUBLIC in refusal("http://evil.example/latest/meta-data")
    assert web.dialled == []


def test_public_host_is_fetched_from(web):
    for url in ("http://public.example/a.png", f"http://{PUBLIC}/a", "http://PUBLIC.example.:80/a"):
        assert load_source(url, roots=()).image.size == (8, 6)
    assert set(web.dialled) == {(PUBLIC, 80)}
    assert web.paths[0] == "public.example /a.png"


def test_name_that_changes_its_answer_is_connected_to_where_it_was_judged(web):
    """The second answer would be taken by whoever looks the name up again to connect."""
    web.names["evil.example"] = [[PUBLIC], ["127.0.0.1"]]
    load_source("http://evil.example/a.png", roots=())
    assert web.dialled == [(PUBLIC, 80)]
    assert len(web.names["evil.example"]) == 1
    assert NOT_PUBLIC in refusal("http://evil.example/a.png")


def test_only_the_address_that_was_judged_is_tried(web):
    web.names["evil.example"] = [[PUBLIC, "127.0.0.1", "10.0.0.1"]]
    load_source("http://evil.example/a.png", roots=())
    assert web.dialled == [(PUBLIC, 80)]


# Ports and schemes


@pytest.mark.parametrize("port", [1, 22, 25, 2375, 6379, 8080, 65535])
def test_other_ports_than_those_of_the_web_are_refused(web, port):
    message = refusal(f"http://public.example:{port}/")
    assert f"http://public.example:{port}/ is on port {port}, which is not the web's" in message
    assert "opened by IMAGE_SOURCE_HOSTS" in message
    assert web.dialled == []


@pytest.mark.parametrize("port", sorted(OPEN_PORTS))
def test_ports_of_the_web_are_open(web, port):
    load_source(f"http://public.example:{port}/a.png", roots=())
    assert web.dialled == [(PUBLIC, port)]


# Redirects


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/",
        "//localhost:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://public.example@127.0.0.1:{port}/",
        "http://internal.example/",
        "http://public.example:22/",
        "file:///etc/hostname",
        "ftp://public.example/a.png",
        "data:image/png;base64,AAAA",
        "gopher://public.example/",
        "http://",
        "http://[::1",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_judged_as_a_url_is(web, location, status):
    web.names["internal.example"] = [["10.0.0.1"]]
    web.answer = lambda place: moved(location.format(port=web.port), status)
    refusal("http://public.example/start")
    assert set(web.dialled) == {(PUBLIC, 80)}


@pytest.mark.parametrize(
    "location", ["/ok", "ok", "//public.example/ok", "http://other.example/ok", "?ok"]
)
def test_redirect_to_a_public_place_is_followed(web, location):
    web.names["other.example"] = [[PUBLIC]]
    web.answer = lambda place: whole(PICTURE) if "ok" in place else moved(location)
    assert load_source("http://public.example/start", roots=()).image.size == (8, 6)
    assert set(web.dialled) == {(PUBLIC, 80)}


def test_redirects_without_end_end(web):
    web.answer = lambda place: moved(place.split(" ")[1] + "x")
    assert f"more than {MAX_REDIRECTS} redirects" in refusal("http://public.example/")
    assert len(web.asked) == MAX_REDIRECTS + 1


# What goes along


def test_neither_proxy_nor_netrc_of_the_user_is_used(web, monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{web.port}")
    (tmp_path / "netrc").write_text("default login me password planted", "utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    load_source("http://public.example/a.png", roots=())
    assert web.dialled == [(PUBLIC, 80)]
    assert b"authorization" not in web.asked[0].lower()


def test_credentials_and_cookies_do_not_follow_a_redirect(web):
    web.names["other.example"] = [[PUBLIC]]
    away = moved("http://other.example/").replace(b"Location", b"Set-Cookie: a=b\r\nLocation")
    back = moved("http://public.example/end")
    answers = {"/start": away, "/": back, "/end": whole(PICTURE)}
    web.answer = lambda place: answers[place.split(" ")[1]]
    load_source("http://user:password@public.example/start", roots=())
    first, *later = (request.lower() for request in web.asked)
    assert b"authorization" in first
    assert len(later) == 2
    assert not any(b"authorization" in request or b"cookie" in request for request in later)


# Hosts that are opened


def test_opened_host_is_fetched_from_on_its_port_alone(web):
    opened = (f"localhost:{web.port}",)
    assert load_source(f"http://localhost:{web.port}/a.png", hosts=opened).image.size == (8, 6)
    assert load_source(f"http://LOCALHOST.:{web.port}/a.png", hosts=opened).image.size == (8, 6)
    asked = len(web.asked)
    for url in (
        "http://localhost/",
        f"http://localhost:{web.port + 1}/",
        f"http://127.0.0.1:{web.port}/",
        f"http://[::1]:{web.port}/",
        f"http://sub.localhost:{web.port}/",
        "http://169.254.169.254/",
    ):
        web.names["sub.localhost"] = [["127.0.0.1"]]
        assert NOT_PUBLIC in refusal(url, hosts=opened)
    assert len(web.asked) == asked


def test_opened_host_without_a_port_has_those_of_the_web(web):
    web.names["files.lan"] = [["10.0.0.1"]]
    with pytest.raises(RuntimeError, match=r"tried to connect to \('10.0.0.1', 80\)"):
        load_source("http://files.lan/a.png", hosts=("files.lan",))
    assert NOT_PUBLIC in refusal("http://files.lan:8000/a.png", hosts=("files.lan",))


def test_opened_port_of_a_public_host_is_fetched_from(web):
    load_source("http://public.example:8080/a.png", hosts=("public.example:8080",))
    assert web.dialled == [(PUBLIC, 8080)]


def test_opening_a_host_closes_no_other(web):
    load_source("http://public.example/a.png", hosts=("localhost:1",))
    assert web.dialled == [(PUBLIC, 80)]


def test_redirect_from_an_opened_host_is_judged_again(web):
    opened = (f"localhost:{web.port}",)
    start = f"http://localhost:{web.port}/start"
    for location in (f"http://127.0.0.1:{web.port}/", "http://169.254.169.254/", "file:///etc/x"):
        web.answer = lambda place, location=location: moved(location)
        refusal(start, hosts=opened)
    assert {host for host, _ in web.dialled} <= {"127.0.0.1", "::1"}
    assert set(web.paths) == {f"localhost:{web.port} /start"}
    web.answer = lambda place: (
        whole(PICTURE) if "public" in place else moved("http://public.example/")
    )
    assert load_source(start, hosts=opened).image.size == (8, 6)


def test_the_setting_opens_hosts_for_the_process(web, monkeypatch):
    url = f"http://localhost:{web.port}/a.png"
    assert NOT_PUBLIC in refusal(url)
    monkeypatch.setenv("IMAGE_SOURCE_HOSTS", f"files.lan, localhost:{web.port}")
    assert load_source(url, roots=()).image.size == (8, 6)


def test_the_settings_of_a_generator_open_hosts_for_it(web, comfyui_server):
    call = {"source_image_url": f"http://localhost:{web.port}/a.png", "steps": 1}
    environ = {"COMFYUI_SERVER_ADDRESS": comfyui_server.address}
    with ImageGenerator(Config(environ, None)) as generator:
        assert generator.generate("a fox", seed=1, **call).error_type == "invalid_request"
    environ["IMAGE_SOURCE_HOSTS"] = f"localhost:{web.port}"
    with ImageGenerator(Config(environ, None)) as generator:
        assert generator.generate("a fox", **call).success
        made, kept = (generator.generate("a fox", seed=1, **call) for _ in range(2))
    assert made.success and kept.metadata["cached"] is True


@pytest.mark.parametrize(
    ("entry", "places"),
    [
        ("localhost:8000", {("localhost", 8000)}),
        ("Files.LAN.", {("files.lan", 80), ("files.lan", 443)}),
        ("[::1]:8000", {("::1", 8000)}),
        ("bücher.example:81", {("xn--bcher-kva.example", 81)}),
    ],
)
def test_host_is_read_as_a_url_has_it(entry, places):
    assert open_hosts([entry]) == places


@pytest.mark.parametrize(
    "entry", ["", "*", "*.example", "http://a", "a/b", "a:b", "a:0", "a:99999", "u@a", "a b", ":80"]
)
def test_what_is_no_host_opens_nothing(entry):
    with pytest.raises(ValueError, match="no host or host:port"):
        open_hosts([entry])


def test_hosts_are_one_or_several():
    assert as_hosts("a:1") == as_hosts(["a:1"]) == as_hosts(iter(["a:1"])) == ("a:1",)
    assert as_hosts("") == as_hosts(()) == ()
    assert as_hosts(FROM_SETTINGS) is FROM_SETTINGS
    for wrong in (5, None, [5]):
        with pytest.raises(TypeError, match="source_hosts must be"):
            as_hosts(wrong)
    with pytest.raises(ValueError, match="no host"):
        as_hosts("http://a")


# Time


@contextlib.contextmanager
def ticking(web: Web) -> Iterator[HttpSession]:
    """A guarded session to whose clock every look is a second later."""
    ticks = iter(range(10_000_000))
    opened = open_hosts([f"localhost:{web.port}"])
    session = HttpSession(
        "source image", guarded=True, opened=opened, clock=lambda: float(next(ticks))
    )
    with contextlib.closing(session):
        yield session


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
GZIP += b"\x1f\x8b\x08\0\0\0\0\0\0\3"


@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", whole(PICTURE)),
        (CHUNKED + b"2\r\nok\r\n0\r\n", b"X: y\r\n", b"\r\n"),
        (GZIP, b"\0\0\0\xff\xff", b"\x03\0" + b"\0" * 8),
    ],
    ids=["interim answers", "trailers", "empty blocks"],
)
def test_what_is_no_body_counts_against_the_time_limit(web, before, unit, after):
    """Each ends, after 60,000 units, in an answer that is read where nobody looks at the clock."""

    def answer(place: str) -> Iterator[bytes]:
        yield before
        for _ in range(1000):
            yield unit * 60
        yield after

    web.answer = answer
    with ticking(web) as session, pytest.raises(ProviderTimeoutError, match="in time"):
        session.get(f"http://localhost:{web.port}/", total_timeout=6.0)


def test_answer_within_the_time_limit_is_read(web):
    with ticking(web) as session:
        got = session.get(f"http://localhost:{web.port}/", total_timeout=1000.0)
    assert got.body == PICTURE


def test_source_images_have_a_time_limit_for_all_redirects_together(web, monkeypatch):
    monkeypatch.setattr(source_images, "FETCH_SECONDS", 0.0)
    with pytest.raises(ImageGenerationError, match="longer than allowed; try again later"):
        load_source("http://public.example/a.png", roots=())


@pytest.mark.parametrize("length", [b"10", b"1000000000000"])
def test_length_that_is_told_is_not_what_counts(web, length):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\nConnection: close\r\n\r\n"
    web.answer = lambda place: head + b"x" * 100_000
    with pytest.raises(ImageGenerationError):
        load_source("http://public.example/a.png", roots=(), max_bytes=50_000)


def test_answer_with_two_lengths_is_the_fault_of_the_answer(web):
    web.answer = lambda place: whole(PICTURE, "200 OK", "Content-Length: 5")
    with pytest.raises(ProviderUnavailableError, match="answered with a header that is none"):
        load_source("http://public.example/a.png", roots=())


def test_body_without_a_length_ends_at_the_byte_limit(web):
    web.answer = lambda place: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100_000
    message = refusal("http://public.example/a.png", max_bytes=50_000)
    assert "more than the 50,000 bytes allowed" in message
