"""What all schemas of options share: frozen, strict, and a bad value is one sentence."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import (
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    PydanticUndefined,
    core_schema,
)

from ptychopinn.errors import InputError, brief, shown

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

M = TypeVar("M", bound=BaseModel)


class _OneSentence(ModelMetaclass):
    """Building a schema with values that it refuses raises InputError."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise InputError(_sentence(cls, error)) from error


class Section(BaseModel, metaclass=_OneSentence):
    """Options that belong together: frozen, and an unknown name is an error.

    Raises
    ------
    InputError
        For an unknown name, a wrong type or a value out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # What differs from the defaults, so that it is one line to read.
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.is_required() or value != field.get_default(call_default_factory=True):
                yield name, value

    def _repr_html_(self) -> str:
        from ptychopinn.report.notebook import options_card

        return options_card(type(self).__name__, self.model_dump(mode="json"))


def validated(schema: type[M], values: Mapping[str, Any], called: str = "") -> M:
    """Build the options of a schema from a mapping that came from outside.

    ``called`` is what stands before their names where the user typed them.

    Raises
    ------
    InputError
        For an unknown name, a wrong type or a value out of range.
    """
    try:
        return schema(**values)
    except InputError as error:
        if called and isinstance(error.__cause__, ValidationError):
            raise InputError(_sentence(schema, error.__cause__, called)) from error.__cause__
        raise


def meant(word: str, known: Collection[str]) -> str | None:
    """The one of the known words that was probably meant."""
    found = difflib.get_close_matches(word.lower(), {k.lower(): k for k in known}, n=1, cutoff=0.6)
    return next((k for k in known if found and k.lower() == found[0]), None)


def either(names: Iterable[str]) -> str:
    """These names as a choice: "a", "a or b", "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


# How pydantic begins most of its messages, and what it says longer than need be.
_EXPECTED = "Input should be "
_SHORTER = {"greater than or equal to": "at least", "less than or equal to": "at most"}


def _sentence(schema: Any, error: ValidationError, called: str = "") -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return _unknown(schema, place)
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] == "option":
        return f"{message}."
    if first["type"] == "value_error" and isinstance(first["input"], Mapping | BaseModel):
        # Options that do not go together: the message names them and what to do.
        return f"{message}."
    field = called + ".".join(place) or schema.__name__
    if message.startswith(_EXPECTED):
        message = message.removeprefix(_EXPECTED).partition(", unable to ")[0]
        message = re.sub(r"a valid dictionary or instance of \w+", "a mapping of options", message)
        for long, short in _SHORTER.items():
            message = message.replace(long, short)
        says = f"must be {message}"
    else:
        says = f"is not valid: {message}"
    return f"option {field} {says}, received {shown(first['input'])}; change it."


def _unknown(schema: Any, place: list[str]) -> str:
    *sections, name = place
    for section in sections:
        schema = schema.model_fields[section].annotation
    within = "".join(f"{section}." for section in sections)
    inner = {key: _section(info.annotation) for key, info in schema.model_fields.items()}
    deep = {f"{key}.{field}" for key, kind in inner.items() if kind for field in options_of(kind)}
    # A name without its section counts as well, and is answered with it.
    names = {each.rsplit(".", 1)[-1]: each for each in [*deep, *inner]}
    guess = meant(name, names)
    hint = "" if guess is None else f" (did you mean '{within}{names[guess]}')"
    where = f" in the section {sections[-1]}" if sections else ""
    return (
        f"'{brief(within + name, 80)}' is not an option{hint}; expected{where} one of "
        f"{', '.join(inner)}; check the spelling."
    )


def _section(annotation: Any) -> Any:
    """The schema that a field holds, if it holds one."""
    known = typing.get_origin(annotation) is None and isinstance(annotation, type)
    return annotation if known and issubclass(annotation, BaseModel) else None


V = TypeVar("V", bound="Variant")


class Variant(Section):
    """A section of which there are several kinds, told apart by the value of one option.

    The base of the kinds names that option in ``tag`` and holds them in ``kinds``; it is never
    built itself. A kind is a subclass in which the option has one value, registered with the
    decorator :meth:`register`. ``Base(**values)``, ``Base.model_validate`` and a field of the type
    ``Base`` give the kind that the values name, so a kind that is registered later needs no line
    elsewhere.

    Attributes
    ----------
    tag : name of the option that tells the kinds apart.
    kinds : the kinds by the values of that option; set by the base.
    elsewhere : values that other programs know and no kind has, with the kind that is nearest.
    about : what the kind is, for the help of the command line.
    """

    tag: ClassVar[str]
    kinds: ClassVar[dict[str, Any]]
    elsewhere: ClassVar[Mapping[str, str]] = {}
    about: ClassVar[str] = ""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    else:

        def __new__(cls, **values: Any) -> Self:
            return super().__new__(cls.kind_of(values) if cls._is_base() else cls)

    @classmethod
    def _is_base(cls) -> bool:
        return "kinds" in vars(cls)

    @classmethod
    def register(cls, kind: type[V]) -> type[V]:
        """Decorator: make a kind known.

        Raises
        ------
        ValueError
            When the name is taken, or another kind has an option of the same name and another type.
        """
        name = kind.model_fields[cls.tag].default
        if not isinstance(name, str) or name in cls.kinds:
            raise ValueError(f"the {cls.tag} must have a name of its own, received {name!r}")
        for other in cls.kinds.values():
            for option, info in kind.model_fields.items():
                there = other.model_fields.get(option, info)
                if option != cls.tag and there.annotation != info.annotation:
                    raise ValueError(f"{option} of {name} must have the type that others give it")
        cls.kinds[name] = kind
        return kind

    @classmethod
    def kind_of(cls, values: Mapping[str, Any]) -> type[Self]:
        """The kind that the values name; pydantic's ValidationError when there is none."""
        name = values.get(cls.tag, cls.model_fields[cls.tag].default)
        kind: type[Self] | None = cls.kinds.get(name) if isinstance(name, str) else None
        if kind is not None:
            return kind
        raise _invalid(
            cls, PydanticCustomError("literal_error", _EXPECTED + cls.expected(name)), cls.tag, name
        )

    @classmethod
    def expected(cls, name: Any) -> str:
        """What the option that tells the kinds apart must be, where ``name`` is not it."""
        text = either(f"'{known}'" for known in cls.kinds)
        nearest = cls.elsewhere.get(name) if isinstance(name, str) else None
        if nearest is not None:
            return f"{text}; '{name}' of the earlier program is not built, nearest is '{nearest}'"
        guess = meant(name, cls.kinds) if isinstance(name, str) else None
        return text if guess is None else f"{text} (did you mean '{guess}')"

    @classmethod
    def owners(cls, option: str) -> tuple[str, ...]:
        """Names of the kinds that have an option."""
        return tuple(name for name, kind in cls.kinds.items() if option in kind.model_fields)

    @classmethod
    def of(cls, value: Any) -> Self:
        """The section that a mapping describes; a section stays.

        Configurations that earlier versions stored hold the options of all kinds. One of another
        kind that has its default there says nothing and is left out.
        """
        if isinstance(value, cls):
            if type(value) not in cls.kinds.values():
                sentence = (
                    f"{cls.tag} must be a registered one, received {type(value).__name__}; put "
                    f"the decorator of {cls.__name__} above its class"
                )
                raise PydanticCustomError("option", "{sentence}", {"sentence": sentence})
            return value
        if not isinstance(value, Mapping):
            raise PydanticKnownError("model_type", {"class_name": cls.__name__})
        kind = cls.kind_of(value)

        def says_nothing(name: Any) -> bool:
            return name not in kind.model_fields and any(
                value[name] == cls.kinds[owner].model_fields[name].default
                for owner in cls.owners(name)
            )

        return kind.model_validate({k: v for k, v in value.items() if not says_nothing(k)})

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        if cls._is_base():
            return core_schema.no_info_plain_validator_function(cls.of)
        return handler(source)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        if cls._is_base():
            return {"oneOf": [kind.model_json_schema() for kind in cls.kinds.values()]}
        return handler(schema)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name, value in values.items():
                if name not in cls.model_fields:
                    raise _invalid(cls, cls._stranger(name, value), str(name), value)
        return values

    @classmethod
    def _stranger(cls, name: Any, value: Any) -> PydanticCustomError:
        """Why an option is not one of this kind."""
        known = [option for option in cls.model_fields if option != cls.tag]
        me = f"the {cls.tag} {cls.model_fields[cls.tag].default}"
        owners = cls.owners(name)
        if owners:
            others = either(owners)
            sentence = (
                f"option {name} has no meaning for {me}, received {shown(value)}; leave it out, or "
                f"choose the {cls.tag} {others} ({me} knows the options {', '.join(known)})"
            )
        else:
            everywhere = [option for kind in cls.kinds.values() for option in kind.model_fields]
            guess = meant(str(name), [*known, *everywhere])
            whose = "" if guess in (None, *known) else f" of {either(cls.owners(f'{guess}'))}"
            hint = "" if guess is None else f" (did you mean '{guess}'{whose})"
            sentence = (
                f"{shown(name)} is not an option of {me}{hint}; expected one of "
                f"{', '.join(known)}; check the spelling"
            )
        return PydanticCustomError("option", "{sentence}", {"sentence": sentence})


def _invalid(
    schema: type[BaseModel], reason: PydanticCustomError, name: str, value: Any
) -> ValidationError:
    return ValidationError.from_exception_data(
        schema.__name__, [InitErrorDetails(type=reason, loc=(name,), input=value)]
    )


class Option(NamedTuple):
    """What a flag or a document says of an option; ``default`` is PydanticUndefined if there is
    none, or each kind of a section has its own."""

    annotation: Any
    description: str
    default: Any


def options_of(schema: type[BaseModel]) -> dict[str, Option]:
    """All options of a schema; those of all kinds, where it has several, and whose they are."""
    if not (issubclass(schema, Variant) and schema._is_base()):
        return {
            name: Option(info.annotation, info.description or "", info.default)
            for name, info in schema.model_fields.items()
        }
    about = "; ".join(f"{name}: {kind.about}" for name, kind in schema.kinds.items())
    tag = schema.model_fields[schema.tag]
    found = {schema.tag: Option(Literal[tuple(schema.kinds)], about, tag.default)}
    for kind in schema.kinds.values():
        for name in kind.model_fields:
            if name not in found:
                found[name] = _shared(schema, name)
    return found


def _shared(schema: type[Variant], name: str) -> Option:
    infos = {owner: schema.kinds[owner].model_fields[name] for owner in schema.owners(name)}
    texts: dict[str, list[str]] = {}
    for owner, info in infos.items():
        texts.setdefault(info.description or "", []).append(owner)
    first = next(iter(infos.values()))
    text = "; ".join(f"{', '.join(owners)}: {about}" for about, owners in texts.items())
    if len(texts) == 1 and len(infos) == len(schema.kinds):
        text = first.description or ""
    same = all(info.default == first.default for info in infos.values())
    return Option(first.annotation, text, first.default if same else PydanticUndefined)
