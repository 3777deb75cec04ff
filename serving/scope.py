"""What a header says of an image's kind and body part, and whether a model is meant for it.

A bundle carries the list of terms that decides it (`Terms`, scope.json). Those without one get the list below.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Annotated, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ImageError

REGIONS = ("hand", "hip", "leg", "shoulder")
"""Regions that terms are known for, as data sets and bundles name them."""

_WORDS = {
    "hand": (
        "HAND HANDS WRIST WRISTS FINGER FINGERS THUMB CARPUS CARPAL SCAPHOID METACARPAL METACARPUS FOREARM "
        "RADIUS RADIAL ULNA ULNAR HANDGELENK UNTERARM DAUMEN MANO MUNECA POIGNET DOIGT HAENDE HANDWURZEL "
        "MITTELHAND MAIN MAINS POIGNETS DOIGTS POUCE AVANTBRAS MANOS MUNECAS DEDO DEDOS PULGAR ANTEBRAZO MANI "
        "POLSO DITO DITA POLLICE AVAMBRACCIO MAO MAOS PUNHO POLEGAR ANTEBRACO POLS VINGER VINGERS DUIM "
        "ONDERARM"
    ),
    "leg": (
        "LEG LEGS LOWERLEG LOWERLIMB FOOT FEET TOE TOES HALLUX ANKLE ANKLES HEEL CALCANEUS TALUS TARSUS "
        "TARSAL METATARSAL METATARSUS FOREFOOT HINDFOOT KNEE KNEES PATELLA TIBIA TIBIAL FIBULA FIBULAR "
        "TIBIAFIBULA TIBFIB FEMUR THIGH UPPERLEG KNIE FUSS SPRUNGGELENK UNTERSCHENKEL OBERSCHENKEL GENOU PIED "
        "CHEVILLE RODILLA PIE TOBILLO BEIN BEINE FUESSE VORFUSS FERSE ZEHE ZEHEN KNIESCHEIBE JAMBE JAMBES "
        "PIEDS GENOUX CHEVILLES TALON ORTEIL ORTEILS CUISSE ROTULE PIERNA PIERNAS PIES RODILLAS TOBILLOS "
        "MUSLO ROTULA GAMBA GAMBE PIEDE PIEDI GINOCCHIO GINOCCHIA CAVIGLIA CALCAGNO COSCIA FEMORE PERNA "
        "PERNAS JOELHO JOELHOS TORNOZELO CALCANEO BEEN BENEN VOET VOETEN ENKEL ENKELS HIEL TENEN ONDERBEEN "
        "BOVENBEEN"
    ),
    "hip": (
        "HIP HIPS HIPJOINT ACETABULUM HUEFTE HANCHE CADERA HUEFTEN HUEFTGELENK HANCHES CADERAS ANCA ANCHE "
        "QUADRIL HEUP HEUPEN"
    ),
    "shoulder": (
        "SHOULDER SHOULDERS CLAVICLE CLAVICULA SCAPULA ACROMION ACROMIOCLAVICULAR ACJOINT GLENOHUMERAL "
        "SCHULTER EPAULE HOMBRO SCHULTERN SCHULTERBLATT SCHLUESSELBEIN EPAULES CLAVICULE OMOPLATE HOMBROS "
        "OMOPLATO SPALLA SPALLE CLAVICOLA SCAPOLA OMBRO OMBROS SCHOUDER SCHOUDERS SLEUTELBEEN"
    ),
    "chest": (
        "CHEST THORAX TORAX CXR LUNG LUNGS RIB RIBS STERNUM STERNOCLAVICULAR MEDIASTINUM HEART CARDIAC "
        "TRACHEA BRONCHUS ESOPHAGUS OESOPHAGUS BRUST BRUSTKORB LUNGE LUNGEN RIPPE RIPPEN HERZ POUMON POUMONS "
        "POITRINE COEUR PULMON PULMONES COSTILLA COSTILLAS PECHO CORAZON TORACE POLMONE POLMONI COSTOLE CUORE "
        "PULMAO PULMOES COSTELA COSTELAS PEITO CORACAO BORSTKAS LONGEN RIBBEN CHESTABD CHESTABDOMEN NECKCHEST "
        "NECKCHESTABDOMEN"
    ),
    "skull": (
        "SKULL HEAD BRAIN CRANIUM CRANIAL SCHAEDEL KOPF FACE FACIAL FACIALBONES ORBIT ORBITAL EYE EAR MASTOID "
        "SINUS SINUSES PARANASAL NASAL NOSE JAW MANDIBLE MAXILLA ZYGOMA TMJ TEMPOROMANDIBULAR SELLA TEETH "
        "TOOTH DENTAL OPTIC AUDITORY PAROTID SUBMANDIBULAR SCHADEL GESICHT KIEFER UNTERKIEFER OBERKIEFER "
        "CRANE VISAGE MACHOIRE MANDIBULE CRANEO MANDIBULA CRANIO MANDIBOLA SCHEDEL KAAK HEADNECK"
    ),
    "spine": (
        "SPINE SPINAL VERTEBRA VERTEBRAE VERTEBRAL CSPINE TSPINE LSPINE SSPINE CTSPINE TLSPINE LSSPINE "
        "CERVICAL THORACIC LUMBAR LUMBOSACRAL SACROCOCCYGEAL SACRUM COCCYX SCOLIOSIS WIRBELSAEULE HWS BWS LWS "
        "COLUMNA RACHIS HALSWIRBELSAEULE BRUSTWIRBELSAEULE LENDENWIRBELSAEULE COLONNE LOMBAIRE COLONNA "
        "RACHIDE LOMBARE COLUNA LOMBAR WERVELKOLOM"
    ),
    "neck": "NECK LARYNX PHARYNX THYROID HALS",
    "abdomen": (
        "ABDOMEN ABDOMINAL KUB STOMACH DUODENUM COLON INTESTINE JEJUNUM ILEUM RECTUM ANUS LIVER BILIARY BILE "
        "GALLBLADDER PANCREAS PANCREATIC KIDNEY KIDNEYS RENAL URETER URETHRA BLADDER URINARY UTERUS PROSTATE "
        "BAUCH VENTRE ADDOME ABDOME BUIK"
    ),
    "breast": "BREAST MAMMA SEIN SEINS SENO",
    "phantom": "PHANTOM",
    "": (
        "EXTREMITY EXTREMITIES LIMB LIMBS PELVIS PELVIC BECKEN BASSIN ARM UPPERARM UPPERLIMB HUMERUS HUMERAL "
        "FEMORAL ELBOW ELBOWS ILIUM SACROILIAC BODY WHOLEBODY SKELETON BONE BONES JOINT MUSCLE OBERARM "
        "ELLBOGEN ELLENBOGEN EXTREMITAET EXTREMITAETEN KNOCHEN GELENK SKELETT BRAS COUDE COUDES MEMBRE "
        "MEMBRES FEMORALE HUMERALE RADIALE BRAZO CODO HUMERO EXTREMIDAD EXTREMIDADES MIEMBRO BRACCIO GOMITO "
        "OMERO BACINO BRACO COTOVELO BACIA BOVENARM ELLEBOOG BEKKEN ABDPELV ABDPELVIS ABDOMENPELVIS "
        "CHESTABDPELV CHESTABDPELVIS NECKCHESTABDPELV NECKCHESTABDPELVIS"
    ),
}
"""Areas of the body and the words for them: English, German, French, Spanish, Italian, Portuguese and Dutch.

Left out are words that mean something else as well: the heads of other bones (TETE, TESTA, CABEZA), sides (COTES).
The nameless area's words may hold any region, or stand for what nobody showed a model to be bad for: they never refuse.
"""
_SIDES = ("L", "R", "LT", "RT", "LEFT", "RIGHT")
_ACCENTS = {"A": "ÀÁÂÃ", "C": "Ç", "E": "ÈÉÊË", "I": "ÌÍÎÏ", "N": "Ñ", "O": "ÒÓÔÕ", "U": "ÙÚÛ"}
_OTHER_MODALITIES = {
    "CT": "computed tomography",
    "MR": "magnetic resonance",
    "US": "ultrasound",
    "IVUS": "ultrasound",
    "NM": "nuclear medicine",
    "PT": "positron emission tomography",
    "XA": "angiography",
    "MG": "mammography",
    "BMD": "bone densitometry",
    "IO": "intra-oral radiography",
    "PX": "panoramic radiography",
    "DG": "diaphanography",
    "TG": "thermography",
    "ES": "endoscopy",
    "OP": "ophthalmic photography",
    "OPT": "ophthalmic tomography",
    "OCT": "optical coherence tomography",
    "IVOCT": "optical coherence tomography",
    "GM": "microscopy",
    "SM": "slide microscopy",
    "XC": "photography",
    "DMS": "dermoscopy",
    "ECG": "electrocardiography",
    "RTIMAGE": "radiotherapy",
    "RTDOSE": "radiotherapy",
    "SEG": "segmentation",
}
"""Modalities (PS3.3, C.7.3.1.1.1) of which no object is a radiograph; any other, or none, is one that may be."""
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_CLASSES = {
    "MG": "1.2 13.1.3 13.1.4 13.1.5",
    "IO": "1.3",
    "CT": "2 13.1.2",
    "US": "3 3.1 6 6.1 6.2",
    "MR": "4",
    "XA": "12.1 12.3 13.1.1",
    "IVOCT": "14",
    "NM": "20",
    "SEG": "66.4",
    "XC": "77.1 77.2",
    "OP": "78 81 82",
    "PT": "128 130",
    "RTIMAGE": "481",
}
"""SOP classes (PS3.4, B.5) below `_STORAGE`, with those derived from them, and what their modality would be."""


class Described(Protocol):
    """What `decode.Header` says of an image's kind."""

    @property
    def modality(self) -> str:
        """The modality's code, empty where unknown."""

    @property
    def sop_class_uid(self) -> str:
        """The SOP class, empty where unknown."""

    @property
    def body_part(self) -> str:
        """Body part and anatomic region in words, empty where unknown."""


_Area = Annotated[str, Field(min_length=1)]
_Words = tuple[Annotated[str, Field(pattern=r"^[A-Z]+$")], ...]
_Uid = Annotated[str, Field(pattern=r"^[0-9.]+$")]


class Terms(BaseModel):
    """scope.json: the terms that a header is judged by. Words are of capital letters without accents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intended: dict[_Area, _Words] = Field(min_length=1)
    """Regions that the model is meant for, and words for each."""
    refused: dict[_Area, _Words]
    """Other areas of the body, as a refusal names them, and words for each."""
    either: _Words
    """Words that may stand for an intended region, or for several areas: they never refuse."""
    modalities: dict[str, str]
    """Code and meaning of each modality (PS3.3, C.7.3.1.1.1) that is refused."""
    sop_classes: dict[_Uid, str]
    """SOP classes (PS3.4, B.5) that are refused, with those derived from them, and the modality of each."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        words = Counter(chain(*self.intended.values(), *self.refused.values(), self.either))
        if twice := sorted(word for word, times in words.items() if times > 1):
            raise ValueError(f"the word {twice[0]} stands in it twice")
        if unknown := sorted(set(self.sop_classes.values()) - set(self.modalities)):
            raise ValueError(f"sop_classes names the modality {unknown[0]}, which modalities lacks")
        return self

    @classmethod
    def for_regions(cls, regions: Iterable[str] = REGIONS) -> Self:
        """This version's list for a model that was trained for `regions`; without any it is meant for all of ours."""
        wanted = {region.casefold() for region in regions} or set(REGIONS)
        # A model whose regions have other names than ours may be meant for any of them.
        meant = wanted if wanted <= set(_WORDS) else {*wanted, *REGIONS}
        words = {area: tuple(text.split()) for area, text in _WORDS.items()}
        return cls(
            intended={area: words[area] for area in words if area and area in meant},
            refused={area: words[area] for area in words if area and area not in meant},
            either=words[""],
            modalities=dict(_OTHER_MODALITIES),
            sop_classes={
                _STORAGE + number: modality for modality, numbers in _CLASSES.items() for number in numbers.split()
            },
        )

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The list that a file holds; ValueError, in one line, for any other file."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "its content"
            raise ValueError(f"{where}: {first['msg']}") from None

    def text(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Scope:
    """What a model is meant for: its list of terms, and its regions as it names them itself."""

    terms: Terms
    regions: tuple[str, ...] = ()

    @classmethod
    def for_regions(cls, regions: Iterable[str] = REGIONS) -> Self:
        """The scope of a model that was trained for `regions` and carries no list of its own."""
        named = tuple(regions)
        return cls(Terms.for_regions(named), named)

    @property
    def named(self) -> tuple[str, ...]:
        """The regions, as a refusal names them."""
        return self.regions or tuple(self.terms.intended)

    @cached_property
    def _areas(self) -> Mapping[str, str]:
        """The area of each word; empty for one that never refuses."""
        areas = {**self.terms.intended, **self.terms.refused, "": self.terms.either}
        return {word: area for area, words in areas.items() for word in words}

    def region_of(self, body_part: str) -> str:
        """The one intended region that a body part's words name, empty where they name none or several."""
        named = {area for area in self._areas_of(body_part) if area in self.terms.intended}
        return named.pop() if len(named) == 1 else ""

    def check(self, header: Described, warn: bool = False) -> str:
        """Refuse an image whose header says that it is none of the model's; ImageError `out_of_scope`.

        With `warn` the reason is given back instead; it is empty where nothing speaks against the image. A header that
        says nothing, or a word that is not known, never refuses.
        """
        found = self.reason(header)
        if not found:
            return ""
        message = f"the header says {found}; this model is for radiographs of: {', '.join(self.named)}"
        if warn:
            return message
        raise ImageError("out_of_scope", message)

    def reason(self, header: Described) -> str:
        """What the header names that the model is not meant for, empty where it is nothing."""
        modality = header.modality.strip().upper()
        modality = modality if modality in self.terms.modalities else self._modality_of(header.sop_class_uid)
        if modality:
            return f"{self.terms.modalities[modality]} ({modality})"
        areas = set(self._areas_of(header.body_part))
        return " and ".join(sorted(areas)) if areas <= set(self.terms.refused) else ""

    def _modality_of(self, sop_class: str) -> str:
        """The refused modality that a SOP class belongs to, empty where it may be a radiograph's."""
        parts = sop_class.split(".")
        keys = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((self.terms.sop_classes[key] for key in keys if key in self.terms.sop_classes), "")

    def _areas_of(self, body_part: str) -> list[str]:
        """The area of each word, or pair of words, that is known; empty for one that never refuses."""
        words = re.split(r"[^A-Z]+", body_part.upper().translate(_UMLAUTS))
        joined = ["".join(pair) for pair in pairwise(words)]
        return [area for word in [*words, *joined] if (area := self._area_of(word)) is not None]

    def _area_of(self, word: str) -> str | None:
        """A word's area. A side may stand before it, but never makes a word one that refuses."""
        found = self._areas.get(word)
        if found is not None:
            return found
        bare = [self._areas.get(word.removeprefix(side)) for side in _SIDES if word.startswith(side)]
        return next((area for area in bare if area is not None and area not in self.terms.refused), None)


def region_of(body_part: str) -> str:
    """The one of REGIONS that a body part's words name, empty where they name none or several."""
    return _OURS.region_of(body_part)


_UMLAUTS = str.maketrans(
    {"Ä": "AE", "Ö": "OE", "Ü": "UE", "ß": "SS"}
    | {accented: plain for plain, many in _ACCENTS.items() for accented in many}
)
_OURS = Scope.for_regions()
