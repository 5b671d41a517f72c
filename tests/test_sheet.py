"""The sheet's layout: exact both ways, laid out like the face, refused where it does not fit."""

import numpy as np
import pytest
import torch
from clips import GEOMETRY

from pulse_plantain.bijection import MOTION_SCALE, inverse_power_transform
from pulse_plantain.sheet import (
    SheetGeometry,
    field_to_sheet,
    motion_sheet,
    sheet_to_field,
)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    "geometry", [GEOMETRY, SheetGeometry(bands=4, samples=128, rows=32, size=(512, 512))]
)
def test_field_and_sheet_are_inverses(geometry, kind):
    field = kind(np.random.default_rng(0).normal(0, 0.01, (2, *geometry.field_shape, 3)))
    sheet = field_to_sheet(field, geometry)
    assert type(sheet) is type(field) and sheet.dtype == field.dtype
    assert tuple(sheet.shape) == (2, geometry.size[1], geometry.size[0], 3)
    assert abs(sheet_to_field(sheet, geometry) - field).max() < 2**-53
    read = sheet_to_field(motion_sheet(field, geometry), geometry)
    through = inverse_power_transform(2 * read - 1, MOTION_SCALE)
    assert abs(through - field).max() < 1e-14


def test_the_sheet_is_laid_out_like_the_face():
    field = np.zeros((96, 8, 4, 1))
    field[5, 2, 3] = 1
    sheet = field_to_sheet(field, GEOMETRY)[..., 0]
    rows, columns = np.nonzero(sheet)
    assert set(rows) == set(range(16, 24)) and set(columns) == {3 * 96 + 5}


def test_gradients_pass_through_the_layout():
    field = torch.zeros(96, 8, 4, 3, requires_grad=True)
    sheet_to_field(2 * field_to_sheet(field, GEOMETRY), GEOMETRY).sum().backward()
    torch.testing.assert_close(field.grad, torch.full_like(field, 2.0))


def test_geometry_refuses_what_does_not_fit_and_survives_json():
    assert SheetGeometry.from_dict(GEOMETRY.to_dict()) == GEOMETRY
    for wrong in [(5, 96, 8, (384, 64)), (4, 96, 7, (384, 64)), (4, 10, 8, (40, 64))]:
        with pytest.raises(ValueError, match="width"):
            SheetGeometry(*wrong)
    with pytest.raises(ValueError, match=r"got shape \(96, 8, 3, 3\)"):
        field_to_sheet(np.zeros((96, 8, 3, 3)), GEOMETRY)
    with pytest.raises(ValueError, match="384 x 64"):
        sheet_to_field(np.zeros((64, 383, 3)), GEOMETRY)
